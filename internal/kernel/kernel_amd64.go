//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

func init() {
	detected.avx2 = cpu.X86.HasAVX2
	detected.vnni = cpu.X86.HasAVX2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ &&
		cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI
	detected.popcnt = detected.vnni && cpu.X86.HasAVX512VPOPCNTDQ
	use = detected
}

//go:noescape
func dot16AVX2(a, b *int16, n int) int32

//go:noescape
func dot32AVX2(s *int32, v *int16, n int) int64

//go:noescape
func bits8AVX2(dst *uint64, q *int8, n, left int)

//go:noescape
func add16AVX2(sum *int32, v *int16, n int) int32

//go:noescape
func round8AVX2(row *int8, sum *int32, n int, f float32, r *Rounded)

//go:noescape
func hamming12VPOPCNT(out *uint16, rows, q *uint64, k int)

//go:noescape
func scanSigns12VPOPCNT(out *int32, rows, planes *uint64, k int)

//go:noescape
func scan8AVX2(out *int32, rows, q, abs *int8, k, dim int)

//go:noescape
func scan8VNNI(out *int32, rows *int8, u *uint8, bias *int32, k, dim int)
