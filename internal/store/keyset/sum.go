package keyset

import "unsafe"

// SumString is [Sum] of a key that is a string.
func SumString(key string) Hash { return Sum(unsafe.Slice(unsafe.StringData(key), len(key))) }
