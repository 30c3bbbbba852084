//go:build !amd64 || purego

package kernel

// Never called: detected stays empty.

func dot16AVX2(*int16, *int16, int) int32               { return 0 }
func dot32AVX2(*int32, *int16, int) int64               { return 0 }
func scan8AVX2(*int32, *int8, *int8, *int8, int, int)   {}
func scan8VNNI(*int32, *int8, *uint8, *int32, int, int) {}

func hamming12VPOPCNT(*uint16, *uint64, *uint64, int)  {}
func scanSigns12VPOPCNT(*int32, *uint64, *uint64, int) {}
func bits8AVX2(*uint64, *int8, int, int)               {}
func add16AVX2(*int32, *int16, int) int32              { return 0 }
func round8AVX2(*int8, *int32, int, float32, *Rounded) {}
