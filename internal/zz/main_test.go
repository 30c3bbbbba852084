package main
import ("testing";"os";"fmt";"github.com/tokaworks/toka/journal")
func TestX(t *testing.T){ d:=t.TempDir()+"/d"; j,err:=journal.Open(d,journal.Options{}); fmt.Println(err); es,_:=os.ReadDir(d); for _,e:=range es{fmt.Println(e.Name())}; fmt.Println(j.Close()); es,_=os.ReadDir(d); for _,e:=range es{fmt.Println(e.Name())} }
