package node

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// A picture has so many events at most, evenly taken, and names so many intents.
const (
	mapPoints = 1500
	mapNames  = 12
)

func (a *app) intentsMap() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "map",
		Short: "Draw events by meaning: what is near in meaning is near in the picture",
		Long: `Draws events as points in the plane in which their embeddings differ the most (the
first two principal components), coloured by intent; the largest intents are named by
a typical text. The same journal gives the same picture.

Two dimensions of hundreds hide much: what lies apart is apart, what lies together
need not be. -o json gives the points, -o svg the picture, and the table the intents.`,
		Example: lines("toka-node intents map --data ./data -o svg > map.svg", "toka-node intents map --data ./data --points 5000 -o json"),
		Args:    args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 3 || limit > 20000 {
				return usage("points %d: use 3 to 20000", limit)
			}
			return a.read(func(j *journal.Journal) error {
				m, err := drawn(c.Context(), j, limit)
				if err != nil {
					return err
				}
				switch a.output {
				case "json":
					for i := range m.points {
						if err := a.object(&m.points[i]); err != nil {
							return err
						}
					}
					return nil
				case "svg":
					return m.svg(a.streams.Out)
				}
				t := a.table()
				fmt.Fprintln(t, "INTENT\tPOINTS\tX\tY\tTYPICAL")
				for _, n := range m.names {
					fmt.Fprintf(t, "%s\t%d\t%.3f\t%.3f\t%s\n", n.id, n.size, n.x, n.y, n.text)
				}
				return t.Flush()
			})
		},
	}
	c.Flags().IntVar(&limit, "points", mapPoints, "draw so many events at most, evenly taken")
	return a.withData(c, "svg")
}

// point is an event in the picture. Coordinates are rounded, so that a last bit
// that another machine computes otherwise does not show.
type point struct {
	Cursor string    `json:"cursor"`
	ID     events.ID `json:"id"`
	Intent events.ID `json:"intent"`
	X      float64   `json:"x"`
	Y      float64   `json:"y"`
}

type named struct {
	id   events.ID
	size int
	x, y float64
	text string
}

type picture struct {
	points []point
	names  []named // the largest first
	rank   map[events.ID]int
}

func drawn(ctx context.Context, j *journal.Journal, limit int) (*picture, error) {
	end := j.Position()
	infos, err := j.IntentsAt(ctx, end)
	if err != nil {
		return nil, err
	}
	total := 0
	for i := range infos {
		total += int(infos[i].Events)
	}
	if total < 3 {
		return nil, fmt.Errorf("%d events have an intent; a map needs 3 at least", total)
	}
	var positions []uint64
	var of []events.ID
	n := 0
	for m, err := range j.IntentMembers(ctx, end) {
		if err != nil {
			return nil, err
		}
		// Of n events so many are taken, evenly: when the quotient steps.
		if n*limit/total != (n+1)*limit/total || total <= limit {
			positions, of = append(positions, m.Position), append(of, m.Intent)
		}
		n++
	}
	var vectors []intent.Vector
	m := &picture{rank: make(map[events.ID]int)}
	sizes := make(map[events.ID]int)
	newest, err := j.Embedding(ctx, positions[len(positions)-1])
	if err != nil {
		return nil, err
	}
	for i, p := range positions {
		x, err := j.Embedding(ctx, p)
		if err != nil {
			return nil, err
		}
		v := x.Vector
		if v == nil || x.Model != newest.Model {
			continue // of another model: it has no place in the same picture
		}
		e, err := j.At(ctx, p)
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, v)
		m.points = append(m.points, point{Cursor: journal.Cursor{Epoch: e.Epoch, Position: p}.String(), ID: e.ID, Intent: of[i]})
		sizes[of[i]]++
	}
	if len(vectors) < 3 {
		return nil, fmt.Errorf("%d events have an intent and a vector by %v; a map needs 3 at least", len(vectors), newest.Model.Model)
	}
	xy := project(vectors)
	for i := range m.points {
		m.points[i].X, m.points[i].Y = xy[i][0], xy[i][1]
	}
	return m, m.name(ctx, j, infos, sizes)
}

// name finds where the largest intents lie, and a text for each.
func (m *picture) name(ctx context.Context, j *journal.Journal, infos []journal.IntentSummary, sizes map[events.ID]int) error {
	for len(m.names) < mapNames {
		best := -1
		for i := range infos {
			if _, done := m.rank[infos[i].ID]; !done && sizes[infos[i].ID] > 0 && (best < 0 || infos[i].Events > infos[best].Events) {
				best = i
			}
		}
		if best < 0 {
			return nil
		}
		id := infos[best].ID
		m.rank[id] = len(m.names)
		members, err := membersOf(ctx, j, j.Position(), infos[best:best+1])
		if err != nil {
			return err
		}
		line, err := (&app{}).describe(ctx, j, &infos[best], members[0])
		if err != nil {
			return err
		}
		n := named{id: id, size: sizes[id]}
		for _, p := range m.points {
			if p.Intent == id {
				n.x, n.y = n.x+p.X/float64(n.size), n.y+p.Y/float64(n.size)
			}
		}
		if len(line.Typical) > 0 {
			n.text = shorten(line.Typical[0], 40)
		}
		m.names = append(m.names, n)
	}
	return nil
}

// project returns the coordinates of vectors on their first two principal
// components, by power iteration from a fixed start, with the sign that makes the
// largest loading positive, scaled to -1 to 1.
func project(vectors []intent.Vector) [][2]float64 {
	dim := len(vectors[0])
	mean := make([]float64, dim)
	for _, v := range vectors {
		for i, q := range v {
			mean[i] += float64(q) / float64(len(vectors))
		}
	}
	rows := make([][]float64, len(vectors))
	for n, v := range vectors {
		rows[n] = make([]float64, dim)
		for i, q := range v {
			rows[n][i] = (float64(q) - mean[i]) / math.MaxInt16
		}
	}
	out := make([][2]float64, len(vectors))
	var axes [][]float64
	for c := range 2 {
		axis := make([]float64, dim)
		for i := range axis {
			axis[i] = 1 + float64((i*7919+c*104729)%97)/97
		}
		for range 100 {
			next := make([]float64, dim)
			for _, r := range rows {
				s := dot(r, axis)
				for i, x := range r {
					next[i] += float64(s * x)
				}
			}
			for _, other := range axes {
				s := dot(next, other)
				for i := range next {
					next[i] -= float64(s * other[i])
				}
			}
			length := math.Sqrt(dot(next, next))
			if length < 1e-12 {
				break // they differ in fewer directions
			}
			for i := range next {
				next[i] /= length
			}
			axis = next
		}
		largest := 0
		for i, x := range axis {
			if math.Abs(x) > math.Abs(axis[largest]) {
				largest = i
			}
		}
		sign := math.Copysign(1, axis[largest])
		most := 0.0
		for n, r := range rows {
			out[n][c] = sign * dot(r, axis)
			most = max(most, math.Abs(out[n][c]))
		}
		for n := range out {
			if most > 0 {
				out[n][c] = math.Round(out[n][c]/most*1e4) / 1e4
			}
		}
		axes = append(axes, axis)
	}
	return out
}

func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += float64(x * b[i])
	}
	return sum
}

// palette holds colours that people with any colour vision tell apart (Okabe and
// Ito); the intents without a name are grey.
var palette = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#000000"}

// svg draws with attributes only, so that nothing of the text is markup.
func (m *picture) svg(w io.Writer) error {
	const width, height, margin = 960, 720, 40
	var b strings.Builder
	place := func(x, y float64) (float64, float64) {
		return margin + (x+1)/2*(width-2*margin), margin + (1-y)/2*(height-2*margin)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%d events by meaning</title>\n", len(m.points))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	for named := range 2 { // those with a name above the others
		for _, p := range m.points {
			rank, ok := m.rank[p.Intent]
			if ok != (named == 1) {
				continue
			}
			colour := "#bbbbbb"
			if ok {
				colour = palette[rank%len(palette)]
			}
			x, y := place(p.X, p.Y)
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s" fill-opacity="0.7"/>`+"\n", x, y, colour)
		}
	}
	for i, n := range m.names {
		x, y := place(n.x, n.y)
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="6" fill="%s" stroke="#ffffff"/>`+"\n", x, y, palette[i%len(palette)])
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" paint-order="stroke" stroke="#ffffff" stroke-width="3">`, x+9, y+4)
		if err := xml.EscapeText(&b, []byte(n.text)); err != nil {
			return err
		}
		b.WriteString("</text>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
