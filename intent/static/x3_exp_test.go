package static

import (
	"fmt"
	"testing"
)

func TestZExp(t *testing.T) {
	xnorms()
	cos := func(p xp, a, b string) (d float64) {
		x, y := xembed(a, p), xembed(b, p)
		n := 0.0
		for i := range x {
			d += float64(x[i]) * float64(y[i])
			n += float64(x[i]) * float64(x[i])
		}
		return d / n
	}
	for _, p := range []xp{{20, 8, 5, .5, 0}, {16, 6, 2, .61, 0}, {16, 6, 2, .7, 0}, {16, 6, 3, .7, 0}, {16, 8, 2, .7, 0}, {20, 8, 5, .7, 0}, {16, 6, 3, .66, 0}, {16, 6, 2, .75, 0}, {16, 8, 2, .7, 0}, {16, 8, 3, .7, 0}, {16, 6, 1, .7, 0}, {16, 6, 4, .7, 0}} {
		fmt.Println(p, cos(p, "I want a refund", "give me my money back")-cos(p, "I want a refund", "what is the weather today"), cos(p, "I want a refund", "give me my money back"))
	}
}
