package static_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/static"
)

var _ intent.Embedder = static.Embedder{}

type golden struct {
	Text   string   `json:"text"`
	Pieces []string `json:"pieces"`
	Sum    []int64  `json:"sum"` // the first 16
}

func goldens(t *testing.T) (gs []golden) {
	t.Helper()
	f, err := os.Open("testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var g golden
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		gs = append(gs, g)
	}
	if err := lines.Err(); err != nil || len(gs) != 200 {
		t.Fatalf("%d golden texts, %v", len(gs), err)
	}
	return gs
}

// embed returns the stored form of a text's vector.
func embed(t testing.TB, text string) intent.Vector {
	t.Helper()
	vs, err := static.Embedder{}.Embed(context.Background(), []string{text})
	if err != nil || len(vs) != 1 {
		t.Fatalf("%.60q: %d vectors, %v", text, len(vs), err)
	}
	v, err := intent.Quantize(vs[0], static.Dimension)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	return v
}

func cosine(a, b intent.Vector) float64 {
	var dot, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot, aa, bb = dot+x*y, aa+x*x, bb+y*y
	}
	return dot / math.Sqrt(aa*bb)
}

func TestGoldenPieces(t *testing.T) {
	for _, g := range goldens(t) {
		pieces, sum := static.Pieces(g.Text)
		if !slices.Equal(pieces, g.Pieces) {
			t.Errorf("%q: pieces %q, want %q", g.Text, pieces, g.Pieces)
		}
		if !slices.Equal(sum[:len(g.Sum)], g.Sum) {
			t.Errorf("%q: sums %d, want %d", g.Text, sum[:len(g.Sum)], g.Sum)
		}
	}
}

// The stored form of 200 texts, which journals hold: what another machine
// computes has to be this.
func TestGoldenVectors(t *testing.T) {
	h := sha256.New()
	for _, g := range goldens(t) {
		h.Write(embed(t, g.Text).Bytes())
	}
	const want = "86a6e7361f44b4f9f6cf0f3bc639295973d49cb18816189b65a4b6f075a64e24"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("the vectors have digest %s, want %s: vectors in journals cannot be compared with these; if that is meant, Name needs its next number", got, want)
	}
}

func TestUnitLength(t *testing.T) {
	for _, text := range []string{"a refund, please", "?!", "zzzzqqqq", "Привет мир", strings.Repeat("x", 200), strings.Repeat("many words ", 50_000)} {
		vs, err := static.Embedder{}.Embed(t.Context(), []string{text})
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		for _, x := range vs[0] {
			sum += float64(x) * float64(x)
		}
		if len(vs[0]) != static.Dimension || math.Abs(sum-1) > 1e-3 {
			t.Errorf("%.40q: %d numbers of length %v, want %d of length 1", text, len(vs[0]), math.Sqrt(sum), static.Dimension)
		}
	}
}

func TestNothingToSay(t *testing.T) {
	vs, err := static.Embedder{}.Embed(t.Context(), []string{"", " \t\n", "\x00\x01", "\u200b", "one", "\xff\xfe"})
	if err != nil || len(vs) != 6 {
		t.Fatalf("%d vectors, %v", len(vs), err)
	}
	for i, v := range vs {
		if (v == nil) != (i != 4) {
			t.Errorf("text %d: a vector of %d numbers", i, len(v))
		}
	}
}

func TestCaseAccentsAndSpace(t *testing.T) {
	for _, same := range [][]string{
		{"where is my refund", "WHERE  is\nMy Refund", " where is my\u00a0refund ", "where is my re\u200bfund"},
		{"creme brulee", "Crème Brûlée", "cre\u0300me bru\u0302le\u0301e"},
		{"istanbul", "İstanbul"},
	} {
		for _, text := range same[1:] {
			if !slices.Equal(embed(t, text), embed(t, same[0])) {
				t.Errorf("%q and %q have different vectors", text, same[0])
			}
		}
	}
}

// What the package comment says that it can and cannot see.
func TestSeesAndDoesNot(t *testing.T) {
	for _, c := range []struct{ text, near, far string }{
		{"I want a refund", "give me my money back", "what is the weather today"},
		{"the customer wants a refund", "please return the payment to the buyer", "fix a race in the scraper"},
		{"my card has not arrived", "I am still waiting for my new credit card", "play some jazz music"},
		{"transfer money to an account", "transferring cash to accounts", "set an alarm for seven"},
		{"reciept for my payment", "receipt for my payment", "recipe for my dinner"}, //nolint:misspell // what it is about
	} {
		near, far := cosine(embed(t, c.text), embed(t, c.near)), cosine(embed(t, c.text), embed(t, c.far))
		t.Logf("%q: %.2f to %q, %.2f to %q", c.text, near, c.near, far, c.far)
		if near < far+0.1 {
			t.Errorf("%q is %.2f near to %q and %.2f to %q", c.text, near, c.near, far, c.far)
		}
	}
	for _, c := range [][2]string{
		{"the dog bit the man", "the man bit the dog"},
		{"the payment was refused", "the payment was not refused"},
	} {
		got := cosine(embed(t, c[0]), embed(t, c[1]))
		t.Logf("%q: %.2f to %q", c[0], got, c[1])
		if got < 0.8 {
			t.Errorf("%q and %q are told apart (%.2f): say so in the package comment", c[0], c[1], got)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	vs, err := static.Embedder{}.Embed(ctx, []string{"a"})
	if !errors.Is(err, context.Canceled) || vs != nil {
		t.Errorf("%v, %v", vs, err)
	}
}

func TestAllocations(t *testing.T) {
	texts := []string{"What can I do if my card still hasn't arrived after 2 weeks?"}
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := (static.Embedder{}).Embed(context.Background(), texts); err != nil {
			t.Error(err)
		}
	})
	if allocations > 3 { // the list of vectors, the vector, and room for a word
		t.Errorf("%v allocations for a text", allocations)
	}
}

func FuzzEmbed(f *testing.F) {
	for _, s := range []string{"", "a", "İ", "\xff", "世界", "##ing [UNK] <s>", "ａ\u0301", "ﬁ", "\u1e9b\u0323", strings.Repeat("é", 101)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		vs, err := static.Embedder{}.Embed(t.Context(), []string{text})
		if err != nil || len(vs) != 1 {
			t.Fatalf("%d vectors, %v", len(vs), err)
		}
		if vs[0] == nil {
			return
		}
		if _, err := intent.Quantize(vs[0], static.Dimension); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkEmbed(b *testing.B) {
	texts := []string{"What can I do if my card still hasn't arrived after 2 weeks?", "model/textparse: associate correct token to errors"}
	b.ReportAllocs()
	for i := range b.N {
		if _, err := (static.Embedder{}).Embed(context.Background(), texts[i&1:][:1]); err != nil {
			b.Fatal(err)
		}
	}
}
