package main
import ("context";"flag";"fmt";"log";"os";"runtime/pprof";"syscall";mr "math/rand/v2";"sync";"sync/atomic";"time"
"github.com/tokaworks/toka/events";"github.com/tokaworks/toka/journal")
func main(){
 w:=flag.Int("w",1024,"");d:=flag.Duration("d",5*time.Second,"");lv:=flag.String("l","fsync","");prof:=flag.String("prof","","");ids:=flag.Bool("ids",false,"");flag.Parse()
 dir,_:=os.MkdirTemp("/work","jb"); defer os.RemoveAll(dir)
 l,_:=journal.ParseLevel(*lv)
 var commits,bytes atomic.Int64; var syncd atomic.Int64
 j,err:=journal.Open(dir+"/d",journal.Options{Level:l,OnCommit:func(c journal.Commit){commits.Add(1);bytes.Add(int64(c.Bytes));syncd.Add(int64(c.Sync))}}); if err!=nil{log.Fatal(err)}
 if *prof!="" { f,_:=os.Create(*prof); pprof.StartCPUProfile(f); }
 var n atomic.Int64; var wg sync.WaitGroup; stop:=time.Now().Add(*d); ctx:=context.Background()
 var last [1024]atomic.Pointer[events.Ref]
 for i:=0;i<*w;i++{ wg.Add(1); go func(){ defer wg.Done(); stream:=fmt.Sprintf("writer-%04d",i); rng:=mr.NewChaCha8([32]byte{byte(i),byte(i>>8)}); var mine events.Ref; var v uint64
  for time.Now().Before(stop){ p:=make([]byte,200); rng.Read(p)
   dr:=events.Draft{Stream:stream,Kind:"bench.event",Payload:p}
   if *ids { dr.ID=journal.NewID() }
   if v>0 { dr.Parents=append(dr.Parents,mine); if o:=last[(i+1)%*w].Load(); o!=nil && o.ID!=mine.ID {dr.Parents=append(dr.Parents,*o)} }
   exp:=journal.NoStream(); if v>0 {exp=journal.Version(v)}
   r,err:=j.Append(ctx,journal.Write{Events:[]events.Draft{dr},Expect:map[string]journal.Expected{stream:exp}}); if err!=nil{log.Fatal(err)}
   v++; mine=r.Events[0].Ref(); m:=mine; last[i].Store(&m); n.Add(1) } }() }
 t:=time.Now(); wg.Wait(); el:=time.Since(t); pprof.StopCPUProfile()
 var ru syscall.Rusage; syscall.Getrusage(0,&ru); fmt.Printf("CPU us/event %.1f\n", float64(ru.Utime.Nano()+ru.Stime.Nano())/1000/float64(n.Load())); fmt.Printf("events %d rate %.0f/s commits %d ev/commit %.0f bytes/ev %.0f avg sync %v\n",n.Load(),float64(n.Load())/el.Seconds(),commits.Load(),float64(n.Load())/float64(commits.Load()),float64(bytes.Load())/float64(n.Load()),time.Duration(syncd.Load()/commits.Load()))
 t=time.Now(); rep,err:=j.Verify(ctx,nil); fmt.Println("verify",time.Since(t),rep.Events,rep.OK,rep.Problems,err,float64(rep.Events)/time.Since(t).Seconds())
 t=time.Now(); k:=0; for _,err:=range j.Read(ctx,journal.Query{}){ if err!=nil{log.Fatal(err)}; k++ }; fmt.Println("read",k,float64(k)/time.Since(t).Seconds())
 t=time.Now(); fmt.Println(j.Close(),time.Since(t))
 t=time.Now(); j,err=journal.Open(dir+"/d",journal.Options{}); if err!=nil{log.Fatal(err)}; fmt.Println("reopen",err,time.Since(t),j.Stats()); j.Close()
}
