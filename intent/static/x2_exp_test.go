package static

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tokaworks/toka/intent"
)

func TestYExp(t *testing.T) {
	if os.Getenv("YEXP") == "" {
		t.Skip()
	}
	b, c := xread("banking77"), xread("clinc150")
	all := map[string]xset{"b": b, "c": c, "b10": xmerge(b, 10), "c10": xmerge(c, 10), "bz": xzipf(b), "cz": xzipf(c), "g": xgit()}
	for _, name := range strings.Fields(os.Getenv("XSETS")) {
		s := all[name]
		var vs []intent.Vector
		s2 := xset{name: s.name}
		for i, text := range s.texts {
			x, _ := Embedder{}.Embed(context.Background(), []string{text})
			v, err := intent.Quantize(x[0], Dimension)
			if err != nil {
				panic(err)
			}
			if v != nil {
				vs, s2.labels = append(vs, v), append(s2.labels, s.labels[i])
			}
		}
		ari, sd, k3 := xscore(s2, vs, 5)
		fmt.Printf(" | %s %.3f±%.3f k3 %.0f\n", name, ari, sd, k3)
	}
}
