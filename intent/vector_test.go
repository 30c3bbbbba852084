package intent_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/intent"
)

func gaussian(seed uint64, dim int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, dim)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func quantize(t testing.TB, x []float32) intent.Vector {
	t.Helper()
	v, err := intent.Quantize(x, len(x))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The stored form depends on the direction only: doubling and halving an
// embedding does not change a byte, and neither does quantising what was read
// back, as long as no component outweighs the rest.
func TestQuantizeIsIdempotentOnBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := gaussian(rapid.Uint64().Draw(t, "seed"), intent.DefaultDimension)
		v, err := intent.Quantize(x, len(x))
		if err != nil {
			t.Fatal(err)
		}
		scale := float32(math.Ldexp(1, rapid.IntRange(-90, 90).Draw(t, "exponent")))
		scaled, back := make([]float32, len(x)), make([]float32, len(x))
		for i := range x {
			scaled[i], back[i] = x[i]*scale, float32(v[i])/math.MaxInt16
		}
		for name, y := range map[string][]float32{"again": x, "scaled": scaled, "read back": back} {
			w, err := intent.Quantize(y, len(y))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.Bytes(), v.Bytes()) {
				t.Fatalf("%s: other bytes", name)
			}
		}
	})
}

// Against arithmetic of 300 bits, which rounds nothing that matters.
func TestQuantizeRoundsHalfAwayFromZero(t *testing.T) {
	wide := func(x float64) *big.Float { return new(big.Float).SetPrec(300).SetFloat64(x) }
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float32Range(-1, 1), 1, 20).Draw(t, "x")
		sum := wide(0)
		for _, f := range x {
			sum.Add(sum, new(big.Float).Mul(wide(float64(f)), wide(float64(f))))
		}
		v, err := intent.Quantize(x, len(x))
		if sum.Sign() == 0 {
			if err == nil {
				t.Fatal("zero was not refused")
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
		length := new(big.Float).Sqrt(sum)
		for i, f := range x {
			want, _ := wide(0).Quo(wide(0).Mul(wide(float64(f)), wide(math.MaxInt16)), length).Float64()
			// Within the error of a float64, a half can fall to either side.
			if diff := math.Abs(float64(v[i]) - want); diff > 0.5+1e-9 {
				t.Fatalf("component %d is %d, want %v rounded", i, v[i], want)
			}
		}
	})
	// Exact halves: this embedding has the length 14, and 32767/14 is 2340.5.
	want := intent.Vector{30427, -11703, 2341, -2341}
	if got := quantize(t, []float32{13, -5, 1, -1}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQuantizeTakesAnyMagnitude(t *testing.T) {
	want := quantize(t, []float32{3, 4, 0})
	for _, scale := range []float32{math.MaxFloat32 / 4, 1e30, 1, 1e-30, math.SmallestNonzeroFloat32} {
		got := quantize(t, []float32{3 * scale, 4 * scale, 0})
		if !slices.Equal(got, want) {
			t.Errorf("scale %g: %v, want %v", scale, got, want)
		}
	}
	big, tiny := float32(3e38), float32(math.SmallestNonzeroFloat32)
	if got := quantize(t, []float32{big, tiny, -big}); got[1] != 0 || got[0] != 23170 || got[2] != -23170 {
		t.Errorf("mixed magnitudes: %v", got)
	}
	if got := quantize(t, []float32{-tiny}); got[0] != -math.MaxInt16 {
		t.Errorf("one denormal: %v", got)
	}
}

func TestQuantizeRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name string
		x    []float32
		dim  int
		want string
	}{
		{"too short", []float32{1, 2}, 3, "2 dimensions, want 3"},
		{"too long", []float32{1, 2, 3, 4}, 3, "4 dimensions, want 3"},
		{"none taken", []float32{1}, 0, "1 dimensions, want 0"},
		{"NaN", []float32{1, nan, 3}, 3, "component 1 is NaN"},
		{"infinity", []float32{1, 2, inf}, 3, "component 2 is +Inf"},
		{"minus infinity", []float32{-inf, 2, 3}, 3, "component 0 is -Inf"},
		{"zero", []float32{0, 0, 0}, 3, "all 3 components are zero"},
	} {
		v, err := intent.Quantize(c.x, c.dim)
		if v != nil || !errors.Is(err, intent.ErrEmbedding) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, error %v, want %q", c.name, v, err, c.want)
		}
	}
	for _, dim := range []int{0, 3} {
		if v, err := intent.Quantize(nil, dim); v != nil || err != nil {
			t.Errorf("no embedding, dimension %d: %v, %v", dim, v, err)
		}
	}
}

func TestVectorBytesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 800).Draw(t, "dim")
		v, err := intent.Quantize(gaussian(rapid.Uint64().Draw(t, "seed"), dim), dim)
		if err != nil {
			t.Fatal(err)
		}
		if w, err := intent.ParseVector(v.Bytes(), dim); err != nil || !slices.Equal(v, w) {
			t.Fatalf("read back %v, %v", w, err)
		}
		b, err := v.AppendBinary([]byte("before"))
		if err != nil || string(b) != "before"+string(v.Bytes()) {
			t.Fatalf("AppendBinary: %x, %v", b, err)
		}
	})
	// Part of the stored format.
	v := quantize(t, []float32{1, 0, -1, 0.001})
	if got := fmt.Sprintf("%x", v.Bytes()); got != "825a00007ea51700" {
		t.Errorf("stored form %s", got)
	}
}

func TestParseVectorRefuses(t *testing.T) {
	good := quantize(t, []float32{3, 4, 12}).Bytes()
	swapped := slices.Clone(good)
	for i := 0; i < len(swapped); i += 2 {
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
	}
	for _, c := range []struct {
		name string
		b    []byte
		dim  int
		want string
	}{
		{"nothing", nil, 3, "0 bytes"},
		{"no dimension", nil, 0, "0 bytes"},
		{"negative dimension", nil, -1, "0 bytes"},
		{"odd", good[:5], 3, "5 bytes"},
		{"odd by one", append(slices.Clone(good), 0), 3, "7 bytes"},
		{"another dimension", good, 2, "6 bytes"},
		{"-32768", []byte{0, 0x80, 0, 0, 0, 0}, 3, "component 0 is -32768"},
		{"all zero", make([]byte, 6), 3, "length 0.000000"},
		{"big endian", swapped, 3, "length"},
		{"too long a vector", bytes.Repeat([]byte{0xff, 0x7f}, 3), 3, "length 1.732051"},
	} {
		v, err := intent.ParseVector(c.b, c.dim)
		if v != nil || !errors.Is(err, intent.ErrEmbedding) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, error %v, want %q", c.name, v, err, c.want)
		}
	}
}

func FuzzQuantize(f *testing.F) {
	seed := func(x ...float32) {
		var b []byte
		for _, c := range x {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(c))
		}
		f.Add(b)
	}
	seed(1, -2, 3)
	seed(3e38, 1e-45, -3e38)
	seed(float32(math.NaN()))
	seed(0, 0)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := make([]float32, len(b)/4)
		sound, zero := true, true
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			sound = sound && !math.IsNaN(float64(x[i])) && !math.IsInf(float64(x[i]), 0)
			zero = zero && x[i] == 0
		}
		v, err := intent.Quantize(x, len(x))
		switch {
		case len(x) == 0:
			if v != nil || err != nil {
				t.Fatalf("nothing: %v, %v", v, err)
			}
		case !sound || zero:
			if v != nil || !errors.Is(err, intent.ErrEmbedding) {
				t.Fatalf("%v, error %v", v, err)
			}
		case err != nil:
			t.Fatal(err)
		default:
			w, err := intent.ParseVector(v.Bytes(), len(x))
			if err != nil || !slices.Equal(v, w) {
				t.Fatalf("read back %v, %v", w, err)
			}
		}
	})
}

func TestNilAssignsNothing(t *testing.T) {
	var s intent.Strategy = intent.Nil{}
	if got := s.Assign(intent.Arrival{Position: 1, Vector: quantize(t, []float32{1})}); got != (intent.Assignment{}) {
		t.Errorf("assigned %+v", got)
	}
	if s.Name() != "nil" || s.Dimension() != 0 || s.Count() != 0 || len(s.Snapshot()) != 0 {
		t.Errorf("name %q, dimension %d, %d intents, snapshot %x", s.Name(), s.Dimension(), s.Count(), s.Snapshot())
	}
	if err := s.Restore(s.Snapshot()); err != nil {
		t.Error(err)
	}
	if err := s.Restore([]byte{1}); err == nil {
		t.Error("restored the snapshot of another strategy")
	}
	if v, err := intent.Quantize(nil, s.Dimension()); v != nil || err != nil {
		t.Errorf("an event without embedding: %v, %v", v, err)
	}
}

func ExampleQuantize() {
	v, err := intent.Quantize([]float32{3, 0, -4}, 3)
	fmt.Println(v, err)
	fmt.Printf("%x\n", v.Bytes())

	_, err = intent.Quantize([]float32{3, 0}, 3)
	fmt.Println(err)
	// Output:
	// [19660 0 -26214] <nil>
	// cc4c00009a99
	// invalid embedding: 2 dimensions, want 3
}

func BenchmarkQuantize(b *testing.B) {
	x := gaussian(1, intent.DefaultDimension)
	for b.Loop() {
		if _, err := intent.Quantize(x, len(x)); err != nil {
			b.Fatal(err)
		}
	}
}
