package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// modes are the ways that this processor can compute.
func modes() map[string]features {
	m := map[string]features{"go": {}}
	if detected.avx2 {
		m["avx2"] = features{avx2: true}
	}
	if detected.vnni {
		m["vnni"] = features{avx2: true, vnni: true}
	}
	if detected.popcnt {
		m["popcnt"] = features{avx2: true, vnni: true, popcnt: true}
	}
	return m
}

// slow computes with the widest integers and no tricks.
func slow[A, B int8 | int16 | int32](a []A, b []B) (sum int64) {
	for i := range a {
		sum += int64(a[i]) * int64(b[i])
	}
	return sum
}

var dims = []int{1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 65, 96, 128, 255, 256, 384, 767, 768, 769, 1024, 1536}

func TestAssemblyEqualsGo(t *testing.T) {
	defer func(was features) { use = was }(use)
	if !detected.avx2 {
		t.Log("this processor has no kernels in assembly; the twin is compared with itself")
	}
	r := rand.New(rand.NewPCG(1, 1))
	shapes := map[string]func(i int) float64{
		"random":      func(int) float64 { return r.NormFloat64() },
		"all largest": func(int) float64 { return 1 },
		"all least":   func(int) float64 { return -1 },
		"alternating": func(i int) float64 { return float64(1 - 2*(i%2)) },
		"one spike":   func(i int) float64 { return float64(1 - min(i, 1)) },
		"sparse":      func(i int) float64 { return math.Trunc(r.NormFloat64() / 2) },
	}
	for _, dim := range dims {
		for name, f := range shapes {
			for other, g := range shapes {
				a, b := unit(dim, f), unit(dim, g)
				want16 := slow(a, b)
				sum := make([]int32, dim)
				for i := range sum {
					sum[i] = int32(f(i) * math.MaxInt32 / 8)
				}
				want32 := slow(sum, b)
				const k = 11
				rows, bias := make([]int8, 0, k*dim), make([]int32, k)
				for i := range k {
					for range dim {
						c := int8(max(-127, min(127, math.Round(127*f(r.IntN(dim))))))
						rows = append(rows, c)
						bias[i] += 128 * int32(c)
					}
				}
				q8 := make([]int8, dim)
				for i := range q8 {
					q8[i] = int8(max(-127, min(127, math.Round(127*g(i)))))
				}
				var q Query
				q.Set(q8)
				for mode, u := range modes() {
					use = u
					if got := Dot16(a, b); int64(got) != want16 {
						t.Fatalf("%s, dim %d, %s x %s: Dot16 %d, want %d", mode, dim, name, other, got, want16)
					}
					if got := Dot32(sum, b); got != want32 {
						t.Fatalf("%s, dim %d, %s x %s: Dot32 %d, want %d", mode, dim, name, other, got, want32)
					}
					for n := range k + 1 {
						out := make([]int32, n)
						Scan8(out, rows, &q, bias)
						for i := range out {
							if want := slow(rows[i*dim:][:dim], q8); int64(out[i]) != want {
								t.Fatalf("%s, dim %d, %s x %s: row %d of %d: %d, want %d", mode, dim, name, other, i, n, out[i], want)
							}
						}
					}
				}
			}
		}
	}
}

// unit is a quantised vector of unit length.
func unit(dim int, f func(int) float64) []int16 {
	x, sum := make([]float64, dim), 0.0
	for i := range x {
		x[i] = f(i)
		sum += x[i] * x[i]
	}
	v := make([]int16, dim)
	for i := range v {
		if sum > 0 {
			v[i] = int16(math.Round(math.MaxInt16 * x[i] / math.Sqrt(sum)))
		}
	}
	return v
}

func TestHamming(t *testing.T) {
	defer func(was features) { use = was }(use)
	for mode, u := range modes() {
		use = u
		t.Run(mode, testHamming)
	}
}

func testHamming(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, words := range []int{1, 3, 11, 12, 13} {
		rows := make([]uint64, 9*words)
		for i := range rows {
			rows[i] = r.Uint64()
		}
		q := slices.Clone(rows[4*words:][:words])
		q[0] ^= 7
		out := make([]uint16, 9)
		Hamming(out, rows, q)
		for i, got := range out {
			want := 0
			for j := range q {
				for x := rows[i*words+j] ^ q[j]; x != 0; x >>= 1 {
					want += int(x & 1)
				}
			}
			if int(got) != want || i == 4 && got != 3 {
				t.Errorf("%d words, row %d: %d, want %d", words, i, got, want)
			}
		}
	}
}

func TestSigns(t *testing.T) {
	defer func(was features) { use = was }(use)
	r := rand.New(rand.NewPCG(4, 4))
	for _, dim := range dims {
		q8, row := make([]int8, dim), make([]int8, 9*dim)
		for mode, u := range modes() {
			use = u
			for round := range 4 {
				for i := range q8 {
					q8[i] = int8(r.IntN(2*MaxSigned+1) - MaxSigned)
					if round > 1 {
						q8[i] = int8(MaxSigned * (5 - 2*round)) // all largest, all least
					}
				}
				for i := range row {
					row[i] = int8(r.IntN(256) - 128)
					if round == 3 {
						row[i] = -1
					}
				}
				words := (dim + 63) / 64
				bits, out := make([]uint64, 9*words), make([]int32, 9)
				for i := range 9 {
					bits[i*words] = ^uint64(0) // of before
					Signs(bits[i*words:][:words], row[i*dim:][:dim])
				}
				var q Signed
				q.Set(q8)
				ScanSigns(out, bits, &q)
				for i, got := range out {
					want := int32(0)
					for j, c := range row[i*dim:][:dim] {
						if c < 0 {
							want += int32(q8[j])
						}
					}
					if got != want {
						t.Fatalf("%s, dim %d, round %d, row %d: %d, want %d", mode, dim, round, i, got, want)
					}
				}
			}
		}
	}
}

func TestSums(t *testing.T) {
	defer func(was features) { use = was }(use)
	r := rand.New(rand.NewPCG(5, 5))
	for _, dim := range dims {
		for round := range 6 {
			sum, v := make([]int32, dim), make([]int16, dim)
			for i := range sum {
				sum[i], v[i] = int32(r.NormFloat64()*1e6), int16(r.IntN(65535)-32767)
				switch round {
				case 1:
					sum[i] = math.MaxInt32 - 1<<15
				case 2:
					sum[i] = -(math.MaxInt32 - 1<<15)
				case 3: // halfway between two
					sum[i] = int32(2*r.IntN(127) - 127 + i%2)
				case 4:
					sum[i] = int32(1 - min(i, 1))
				}
			}
			var want []int32
			for i := range sum {
				want = append(want, sum[i]+int32(v[i]))
			}
			var rows []int8
			var of Rounded
			for mode, u := range modes() {
				use = u
				got := slices.Clone(sum)
				peak := Add16(got, v)
				if least, most := slices.Min(want), slices.Max(want); !slices.Equal(got, want) || peak != max(most, -least) {
					t.Fatalf("%s, dim %d, round %d: Add16: peak %d of %v", mode, dim, round, peak, got)
				}
				row := make([]int8, dim)
				peak = 1
				for _, s := range sum {
					peak = max(peak, s, -s)
				}
				d := Round8(row, sum, 127/float32(peak))
				if rows == nil {
					rows, of = row, d
				}
				if !slices.Equal(row, rows) || d != of {
					t.Fatalf("%s, dim %d, round %d: Round8: %+v %v, another way %+v %v", mode, dim, round, d, row, of, rows)
				}
			}
			var check Rounded
			for i, q := range rows {
				check.Total += int32(q)
				check.Squares += int32(q) * int32(q)
				check.Product += int64(q) * int64(sum[i])
				if q < 0 {
					check.Signed -= int64(sum[i])
				} else {
					check.Signed += int64(sum[i])
				}
			}
			if check != of {
				t.Fatalf("dim %d, round %d: %+v, want %+v", dim, round, of, check)
			}
		}
	}
}

func FuzzKernels(f *testing.F) {
	f.Add([]byte{1, 2, 3, 255, 128, 0})
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer func(was features) { use = was }(use)
		if len(b) < 4 || len(b) > 8<<10 {
			return
		}
		dim := len(b) / 2
		q8, rows, bias := make([]int8, dim), make([]int8, 4*dim), make([]int32, 4)
		for i := range q8 {
			q8[i] = int8(max(-127, int(int8(b[i]))))
		}
		for i := range rows {
			rows[i] = int8(max(-127, int(int8(b[(i*7+3)%len(b)]))))
			bias[i/dim] += 128 * int32(rows[i])
		}
		var q Query
		q.Set(q8)
		for mode, u := range modes() {
			use = u
			out := make([]int32, 4)
			Scan8(out, rows, &q, bias)
			for i := range out {
				if want := slow(rows[i*dim:][:dim], q8); int64(out[i]) != want {
					t.Fatalf("%s: row %d: %d, want %d", mode, i, out[i], want)
				}
			}
		}
	})
}

func BenchmarkHamming(b *testing.B) {
	defer func(was features) { use = was }(use)
	const k = 100_000
	rows, out := make([]uint64, 12*k), make([]uint16, k)
	for mode, u := range modes() {
		b.Run(mode, func(b *testing.B) {
			use = u
			for b.Loop() {
				Hamming(out, rows, rows[:12])
			}
		})
	}
}

func BenchmarkScan8(b *testing.B) {
	defer func(was features) { use = was }(use)
	const dim = 768
	r := rand.New(rand.NewPCG(1, 1))
	for mode, u := range modes() {
		for _, k := range []int{1000, 10000, 100000} {
			rows, bias, out := make([]int8, k*dim), make([]int32, k), make([]int32, k)
			for i := range rows {
				rows[i] = int8(r.IntN(255) - 127)
			}
			var q Query
			q.Set(rows[:dim])
			b.Run(mode+"/"+map[int]string{1000: "1k", 10000: "10k", 100000: "100k"}[k], func(b *testing.B) {
				use = u
				for b.Loop() {
					Scan8(out, rows, &q, bias)
				}
			})
		}
	}
}
