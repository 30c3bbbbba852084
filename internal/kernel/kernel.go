package kernel

import "math/bits"

// features says which instructions are used.
type features struct{ avx2, vnni, popcnt bool }

var detected, use features

// Pure turns the kernels in assembly off, or on again as far as the processor
// has them, and tells how it was. It is for tests and measurements: nothing
// else may run meanwhile, and no answer depends on it.
func Pure(pure bool) (was bool) {
	was = use == features{}
	use = detected
	if pure {
		use = features{}
	}
	return was
}

// Name tells which instructions the kernels use.
func Name() string {
	switch {
	case use.vnni:
		return "avx512-vnni"
	case use.avx2:
		return "avx2"
	}
	return "go"
}

// Dot16 returns the dot product of two vectors of one length. No component may
// be -32768, and the vectors' lengths must have a product below 2^31: such are
// quantised unit vectors, and then no sum of a part can overflow either.
func Dot16(a, b []int16) int32 {
	b = b[:len(a)]
	n := 0
	var sum int32
	if n = len(a) &^ 31; use.avx2 && n > 0 {
		sum = dot16AVX2(&a[0], &b[0], n)
		a, b = a[n:], b[n:]
	}
	return sum + dot16(a, b)
}

func dot16(a, b []int16) int32 {
	b = b[:len(a)]
	var s, t int32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s += int32(a[i])*int32(b[i]) + int32(a[i+1])*int32(b[i+1])
		t += int32(a[i+2])*int32(b[i+2]) + int32(a[i+3])*int32(b[i+3])
	}
	for ; i < len(a); i++ {
		s += int32(a[i]) * int32(b[i])
	}
	return s + t
}

// Dot32 returns the dot product of a sum of vectors and a vector. It cannot
// overflow below 2^16 dimensions.
func Dot32(s []int32, v []int16) int64 {
	v = v[:len(s)]
	var sum int64
	if n := len(s) &^ 7; use.avx2 && n > 0 {
		sum = dot32AVX2(&s[0], &v[0], n)
		s, v = s[n:], v[n:]
	}
	return sum + dot32(s, v)
}

func dot32(s []int32, v []int16) int64 {
	v = v[:len(s)]
	var a, b int64
	i := 0
	for ; i+4 <= len(s); i += 4 {
		a += int64(s[i])*int64(v[i]) + int64(s[i+1])*int64(v[i+1])
		b += int64(s[i+2])*int64(v[i+2]) + int64(s[i+3])*int64(v[i+3])
	}
	for ; i < len(s); i++ {
		a += int64(s[i]) * int64(v[i])
	}
	return a + b
}

// Query is an 8-bit vector in the forms that the kernels want.
type Query struct {
	q, abs []int8
	plus   []uint8 // q + 128
}

// Set makes q the query. No component may be -128.
func (x *Query) Set(q []int8) {
	if len(x.q) != len(q) {
		x.q, x.abs, x.plus = make([]int8, len(q)), make([]int8, len(q)), make([]uint8, len(q))
	}
	copy(x.q, q)
	abs, plus := x.abs[:len(q)], x.plus[:len(q)]
	for i, c := range q {
		abs[i] = (c ^ c>>7) - c>>7
		plus[i] = uint8(c) ^ 0x80
	}
}

// Scan8 sets out[i] to the dot product of the query and the i-th row of as many
// components. No component may be -128, and bias[i] must be 128 times the sum
// of the row.
func Scan8(out []int32, rows []int8, x *Query, bias []int32) {
	dim, k := len(x.q), len(out)
	rows, bias = rows[:k*dim], bias[:k]
	done := 0
	if n := k &^ 3; n > 0 {
		switch {
		case use.vnni && dim > 0 && dim%64 == 0:
			scan8VNNI(&out[0], &rows[0], &x.plus[0], &bias[0], n, dim)
			done = n
		case use.avx2 && dim > 0 && dim%32 == 0:
			scan8AVX2(&out[0], &rows[0], &x.q[0], &x.abs[0], n, dim)
			done = n
		}
	}
	for i := done; i < k; i++ {
		out[i] = dot8(rows[i*dim:][:dim], x.q)
	}
}

func dot8(a, b []int8) int32 {
	b = b[:len(a)]
	var s, t int32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s += int32(a[i])*int32(b[i]) + int32(a[i+1])*int32(b[i+1])
		t += int32(a[i+2])*int32(b[i+2]) + int32(a[i+3])*int32(b[i+3])
	}
	for ; i < len(a); i++ {
		s += int32(a[i]) * int32(b[i])
	}
	return s + t
}

// Hamming sets out[i] to the number of bits in which q and the i-th row of as
// many words differ.
func Hamming(out []uint16, rows, q []uint64) {
	if len(q) == 12 { // 768 dimensions
		p := (*[12]uint64)(q)
		done := 0
		if n := len(out) &^ 3; use.popcnt && n > 0 {
			rows = rows[:12*len(out)]
			hamming12VPOPCNT(&out[0], &rows[0], &q[0], n)
			done = n
		}
		for i := done; i < len(out); i++ {
			r := (*[12]uint64)(rows[12*i:])
			out[i] = uint16(bits.OnesCount64(p[0]^r[0]) + bits.OnesCount64(p[1]^r[1]) + bits.OnesCount64(p[2]^r[2]) +
				bits.OnesCount64(p[3]^r[3]) + bits.OnesCount64(p[4]^r[4]) + bits.OnesCount64(p[5]^r[5]) +
				bits.OnesCount64(p[6]^r[6]) + bits.OnesCount64(p[7]^r[7]) + bits.OnesCount64(p[8]^r[8]) +
				bits.OnesCount64(p[9]^r[9]) + bits.OnesCount64(p[10]^r[10]) + bits.OnesCount64(p[11]^r[11]))
		}
		return
	}
	for i := range out {
		n := 0
		for j, w := range rows[i*len(q):][:len(q)] {
			n += bits.OnesCount64(w ^ q[j])
		}
		out[i] = uint16(n)
	}
}
