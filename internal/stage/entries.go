package stage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// portion is how many messages leave a step at a time, and portionBytes about how many bytes of them.
const (
	portion      = 1000
	portionBytes = 4 << 20
)

// errDamaged says that an entry can't be read.
var errDamaged = errors.New("the entry is damaged")

// damaged is the error of an entry of a step's state that can't be read.
func damaged(space string, key []byte, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "state of " + space, Err: fmt.Errorf("entry %x: %w", key, err),
		Hint: "run `penstock store check`; restore a backup, or drop the state of this step"}
}

// scan reads all entries of a space in the order of their keys, page by page: no view is open for longer than a page
// takes.
func scan(ctx context.Context, s store.Store, space string, f func(store.Entry) error) error {
	limit := 256
	var after []byte
	for {
		var page []store.Entry
		err := s.View(ctx, func(v store.View) (err error) {
			page, err = v.State().Scan(space, after, limit)
			return err
		})
		if err != nil {
			if limit > 1 && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				limit = (limit + 7) / 8
				continue
			}
			return fmt.Errorf("reading the state of %s: %w", space, err)
		}
		size := 0
		for _, e := range page {
			size += len(e.Key) + len(e.Value)
			if err := f(e); err != nil {
				return damaged(space, e.Key, err)
			}
		}
		if len(page) < limit {
			return nil
		}
		after = page[len(page)-1].Key
		switch {
		case size > portionBytes && limit > 1:
			limit /= 2
		case size < portionBytes/8:
			limit = min(2*limit, 8192)
		}
	}
}

// numberKey is the key of an entry that is one of many in the order of their numbers.
func numberKey(dst []byte, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), n)
}

// longKey is from what length on a message's key does not stand in the key of an entry, which has at most 4 KiB.
const longKey = 1024

// textKey is the key of the entry of a message's key: a kind, and the key or, in upper case, its hash.
func textKey(dst []byte, kind byte, key string) []byte {
	if len(key) < longKey {
		return append(append(dst, kind), key...)
	}
	h := sha256.Sum256([]byte(key))
	return append(append(dst, kind-'a'+'A'), h[:]...)
}

// textValue begins the value of such an entry with a number, and the key if that does not stand in the entry's.
func textValue(dst []byte, key string, n int64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	if len(key) < longKey {
		return dst
	}
	return append(dst, key...)
}

// readText reads an entry that textKey and textValue have made.
func readText(e store.Entry) (key string, n int64, err error) {
	if len(e.Value) < 8 {
		return "", 0, errDamaged
	}
	n = int64(binary.BigEndian.Uint64(e.Value))
	if e.Key[0] >= 'a' {
		return string(e.Key[1:]), n, nil
	}
	return string(e.Value[8:]), n, nil
}

// cutBytes cuts bytes off that have their length in front.
func cutBytes(src []byte) (b, rest []byte, err error) {
	n, w := binary.Uvarint(src)
	if w <= 0 || n > uint64(len(src)-w) {
		return nil, nil, errDamaged
	}
	return src[w : w+int(n)], src[w+int(n):], nil
}
