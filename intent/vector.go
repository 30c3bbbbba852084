package intent

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The scale of a unit vector is part of the stored format and must not be
// changed.
const unit = math.MaxInt16

// Quantize returns the stored form of an embedding, which has to have dim
// components and point somewhere; how long it is does not matter. An empty
// embedding gives a nil Vector: the event has no intent. Every error wraps
// [ErrEmbedding].
//
// The result has the same bits on every machine. A positive multiple of an
// embedding by a power of two has the same stored form.
func Quantize(embedding []float32, dim int) (Vector, error) {
	if len(embedding) == 0 {
		return nil, nil
	}
	if len(embedding) != dim {
		return nil, fmt.Errorf("%w: %d dimensions, want %d", ErrEmbedding, len(embedding), dim)
	}
	// The square of a float32 takes 48 bits of mantissa and an exponent
	// between 2^-298 and 2^256, so a float64 holds it exactly: neither the
	// largest nor the smallest components need scaling first. The conversion
	// forbids the compiler to fuse the product into the sum, as it otherwise
	// would on some architectures only.
	var sum float64
	for i, x := range embedding {
		f := float64(x)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%w: component %d is %v", ErrEmbedding, i, x)
		}
		sum += float64(f * f)
	}
	if sum == 0 {
		return nil, fmt.Errorf("%w: all %d components are zero, which points nowhere", ErrEmbedding, dim)
	}
	// Rounding is monotone, so no component exceeds the computed length and
	// the quotient never exceeds unit. The product is exact (15 + 24 bits),
	// which leaves the division as the one rounding of a component.
	length := math.Sqrt(sum)
	v := make(Vector, len(embedding))
	for i, x := range embedding {
		v[i] = int16(math.Round(float64(float64(x)*unit) / length))
	}
	return v, nil
}

// Check reports whether v can be the stored form of an embedding of dim
// components: their number, no -32768, and a length that is the unit's up to
// what rounding does to it. The error wraps [ErrEmbedding].
func (v Vector) Check(dim int) error {
	if len(v) != dim || dim == 0 {
		return fmt.Errorf("%w: %d dimensions, want %d", ErrEmbedding, len(v), dim)
	}
	var sum int64 // of squares; overflows beyond 2^33 components only
	for i, q := range v {
		if q == math.MinInt16 {
			return fmt.Errorf("%w: component %d is %d, which no quantised vector has", ErrEmbedding, i, q)
		}
		sum += int64(q) * int64(q)
	}
	// Each component is off by at most 1/2, so the length is off by at most
	// sqrt(dim)/2 and its square by unit sqrt(dim) + dim/4. The slack of
	// 3/4 dim is far above the float64 errors of Quantize.
	slack := unit*int64(math.Ceil(math.Sqrt(float64(dim)))) + int64(dim)
	if off := sum - unit*unit; off > slack || -off > slack {
		return fmt.Errorf("%w: a vector of length %.6f, want 1 (stored in another form?)",
			ErrEmbedding, math.Sqrt(float64(sum))/unit)
	}
	return nil
}

// AppendBinary implements [encoding.BinaryAppender]. It appends the stored
// form of v, two bytes a component, and never fails.
func (v Vector) AppendBinary(b []byte) ([]byte, error) {
	for _, q := range v {
		b = binary.LittleEndian.AppendUint16(b, uint16(q))
	}
	return b, nil
}

// Bytes returns the stored form of v.
func (v Vector) Bytes() []byte {
	b, _ := v.AppendBinary(make([]byte, 0, 2*len(v)))
	return b
}

// ParseVector reads what [Vector.Bytes] returned for a vector of dim
// components. It refuses bytes that [Vector.Check] finds wanting, with an error
// that wraps [ErrEmbedding].
func ParseVector(b []byte, dim int) (Vector, error) {
	if dim <= 0 || len(b)/2 != dim || len(b)%2 != 0 {
		return nil, fmt.Errorf("%w: %d bytes, want 2 for each of %d components", ErrEmbedding, len(b), dim)
	}
	v := make(Vector, dim)
	for i := range v {
		v[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	if err := v.Check(dim); err != nil {
		return nil, err
	}
	return v, nil
}
