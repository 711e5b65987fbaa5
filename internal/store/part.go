package store

import (
	"fmt"
	"strconv"
	"strings"
)

// A store is divided into parts. Each channel and each space has a home part, and a transaction that reads or writes it has that
// part for itself until it is durable, whatever process it runs in: so within a part the order of positions is the order of
// commits, and no reader can pass by what becomes visible later. What is to be spread over all parts is
// divided into one channel, or one space, in each of them: [InPart].

// InPart is the name of the channel or space of that name whose home is part p: entity/account#07. p is at least 0 and less than
// [Described.Parts].
func InPart(name string, p int) string { return fmt.Sprintf("%s#%02d", name, p) }

// PartOf is the part of a key (a stream, a job, a saga, a flow) in a store of so many parts. It is the same on all machines and in all
// versions: what is stored depends on it.
func PartOf(key string, parts int) int {
	if parts <= 1 {
		return 0
	}
	// FNV-1a (draft-eastlake-fnv), whose lower bits are then mixed with all others (the finalizer of MurmurHash3): keys that differ in
	// their last byte alone would else share the higher ones.
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return int((h ^ h>>33) % uint64(parts))
}

// Home is the home part of a channel or a space in a store of so many parts: that which [InPart] put into its name, else the part of its name as a key.
func Home(name string, parts int) int {
	if parts <= 1 {
		return 0
	}
	if i := strings.LastIndexByte(name, '#'); i >= 0 && len(name)-i > 2 {
		if p, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil && int(p) < parts && InPart(name[:i], int(p)) == name {
			return int(p)
		}
	}
	return PartOf(name, parts)
}
