package nearest

import (
	"cmp"
	"math"
	"math/big"
	"math/bits"
)

// MaxMembers is how many members a row may have for the arithmetic below to be
// exact and stay in range: a quantised vector is shorter than 2^15.5, so a sum
// s of them is shorter than 2^46.5, |s|^2 is below 2^93, and a dot product of s
// and a vector, or any part of it (Cauchy-Schwarz), below 2^62.
const MaxMembers uint64 = 1 << 31

// dot64 is for sums that are too long for kernel.Dot32.
func dot64(s []int64, v []int16) int64 {
	var a, b int64
	v = v[:len(s)]
	i := 0
	for ; i+2 <= len(s); i += 2 {
		a += s[i] * int64(v[i])
		b += s[i+1] * int64(v[i+1])
	}
	for ; i < len(s); i++ {
		a += s[i] * int64(v[i])
	}
	return a + b
}

// billion is the denominator of a threshold.
const billion = 1_000_000_000

// nearer reports whether the cosine to a centroid with dot product p and
// squared norm n is strictly larger than that with q and m, both products being
// positive: p/sqrt(n) > q/sqrt(m), that is p^2 m > q^2 n.
func nearer(p int64, n Norm, q int64, m Norm) bool {
	return square(uint64(p)).mul(m).cmp(square(uint64(q)).mul(n)) > 0
}

// reaches reports whether the cosine of a centroid with positive dot product p
// and squared norm n to a vector with squared norm m is at least t billionths:
// p^2 10^18 >= t^2 n m.
func reaches(p int64, n Norm, m, t uint64) bool {
	left := square(uint64(p)).mul(square(billion))
	hi, lo := bits.Mul64(t*t, m) // t*t is below 2^60
	return left.cmp(n.mul(Norm{hi, lo})) >= 0
}

// cosine returns p / sqrt(n m) for positive p, rounded once, to the nearest
// float64 and to even between two. Rounding is monotone, so the result is at
// least any float64 that the true cosine is at least, such as the threshold,
// and at most 1.
func cosine(p int64, n Norm, m uint64) float64 {
	// root = floor(2^shift cos), and low tells whether that left something
	// out. A cosine that reached a threshold is above 2^-31, so root has over
	// 60 bits; with low as one more bit below them, rounding root to 53 bits is
	// rounding the cosine.
	const shift = 96
	numerator := new(big.Int).SetInt64(p)
	numerator.Mul(numerator, numerator).Lsh(numerator, 2*shift)
	denominator := n.big()
	denominator.Mul(denominator, new(big.Int).SetUint64(m))
	quotient, rest := new(big.Int).QuoRem(numerator, denominator, new(big.Int))
	root := new(big.Int).Sqrt(quotient)
	low := uint(0)
	if rest.Sign() != 0 || new(big.Int).Mul(root, root).Cmp(quotient) != 0 {
		low = 1
	}
	root.Lsh(root, 1).SetBit(root, 0, low)
	f, _ := new(big.Float).SetInt(root).Float64()
	return math.Ldexp(f, -shift-1)
}

// Norm and u256 are unsigned integers, as wide as the exact comparisons need.
type (
	// Norm is a squared length.
	Norm struct{ hi, lo uint64 }
	u256 [4]uint64 // lowest first
)

func square(x uint64) Norm {
	hi, lo := bits.Mul64(x, x)
	return Norm{hi, lo}
}

func (a Norm) add(x uint64) Norm {
	lo, carry := bits.Add64(a.lo, x, 0)
	return Norm{a.hi + carry, lo}
}

func (a Norm) plus(b Norm) Norm {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return Norm{hi, lo}
}

func (a Norm) mul(b Norm) u256 {
	h00, l00 := bits.Mul64(a.lo, b.lo)
	h01, l01 := bits.Mul64(a.lo, b.hi)
	h10, l10 := bits.Mul64(a.hi, b.lo)
	h11, l11 := bits.Mul64(a.hi, b.hi)
	w1, c := bits.Add64(h00, l01, 0)
	w2, c := bits.Add64(h01, l11, c)
	w3 := h11 + c
	w1, c = bits.Add64(w1, l10, 0)
	w2, c = bits.Add64(w2, h10, c)
	return u256{l00, w1, w2, w3 + c}
}

func (a u256) cmp(b u256) int {
	for i := len(a) - 1; i > 0; i-- {
		if a[i] != b[i] {
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(a[0], b[0])
}

func (a Norm) big() *big.Int {
	b := new(big.Int).SetUint64(a.hi)
	return b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(a.lo))
}

// Float is close to a.
func (a Norm) Float() float64 {
	return math.Ldexp(float64(a.hi), 64) + float64(a.lo)
}

// InRange reports whether a sum of so many vectors can be what it says: not
// zero, and no longer than the vectors together.
func InRange(sum []int64, members uint64) bool {
	var norm Norm
	for _, s := range sum {
		norm = norm.plus(square(uint64(max(s, -s))))
	}
	most := square(members).mul(Norm{lo: 1 << 31})
	return norm != (Norm{}) && (u256{norm.lo, norm.hi}).cmp(most) <= 0
}
