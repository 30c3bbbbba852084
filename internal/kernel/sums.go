package kernel

// Add16 adds v to a sum of vectors and returns the largest magnitude in the sum.
// No component may leave 32 bits, nor become the least one that these hold.
func Add16(sum []int32, v []int16) (peak int32) {
	v = v[:len(sum)]
	if n := len(sum) &^ 7; use.avx2 && n > 0 {
		peak = add16AVX2(&sum[0], &v[0], n)
		sum, v = sum[n:], v[n:]
	}
	return max(peak, add16(sum, v))
}

func add16(sum []int32, v []int16) (peak int32) {
	v = v[:len(sum)]
	for i, q := range v {
		s := sum[i] + int32(q)
		sum[i] = s
		peak = max(peak, s, -s)
	}
	return peak
}

// Rounded is what Round8 tells of a row.
type Rounded struct {
	Total, Squares int32 // of its components, and of their squares
	Product        int64 // of the row and the sum
	Signed         int64 // of the sum and the signs of the row, 0 being above 0
}

// Round8 makes the row of 8 bits that stands for a sum: each component times f,
// to the nearest whole number and up between two. f times the largest magnitude
// must be 127 or less, but for rounding.
func Round8(row []int8, sum []int32, f float32) (r Rounded) {
	row = row[:len(sum)]
	if n := len(sum) &^ 7; use.avx2 && n > 0 {
		round8AVX2(&row[0], &sum[0], n, f, &r)
		row, sum = row[n:], sum[n:]
	}
	rest := round8(row, sum, f)
	return Rounded{r.Total + rest.Total, r.Squares + rest.Squares, r.Product + rest.Product, r.Signed + rest.Signed}
}

func round8(row []int8, sum []int32, f float32) (r Rounded) {
	for i, s := range sum {
		// What is truncated is above 0.
		q := int32(float32(float32(s)*f)+128.5) - 128
		row[i] = int8(q)
		r.Total += q
		r.Squares += q * q
		r.Product += int64(s) * int64(q)
		m := int64(q >> 31)
		r.Signed += (int64(s) ^ m) - m
	}
	return r
}
