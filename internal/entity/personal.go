package entity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// secret is the key of a subject in one part: what its personal fields are encrypted with.
type secret struct {
	id   []byte // 16 random bytes: what events know it by
	key  []byte // 32 random bytes
	aead cipher.AEAD
}

const (
	secretID  = 16
	secretKey = 32
)

// newSecret makes a key.
func newSecret() (*secret, error) {
	both := make([]byte, secretID+secretKey)
	if _, err := rand.Read(both); err != nil {
		return nil, err
	}
	return readSecret(both)
}

// readSecret reads a key as it is stored: its id, and the key.
func readSecret(both []byte) (*secret, error) {
	if len(both) != secretID+secretKey {
		return nil, errors.New("the key of a subject is damaged")
	}
	block, err := aes.NewCipher(both[secretID:])
	if err != nil {
		return nil, err
	}
	s := &secret{id: both[:secretID:secretID], key: both[secretID:]}
	s.aead, err = cipher.NewGCM(block)
	return s, err
}

// Entries of the space of keys: the same key under its subject, and under its id.
func subjectKey(subject string) []byte { return append([]byte{'s'}, subject...) }
func idKey(id []byte) []byte           { return append([]byte{'i'}, id...) }

// put writes a new key of a subject.
func (s *secret) put(tx store.Tx, space, subject string) error {
	both := append(append([]byte(nil), s.id...), s.key...)
	if err := tx.Put(space, store.Entry{Key: subjectKey(subject), Value: both}); err != nil {
		return err
	}
	return tx.Put(space, store.Entry{Key: idKey(s.id), Value: both})
}

// about is what an encrypted text is bound to.
func about(key string, version int64) []byte {
	return binary.LittleEndian.AppendUint64(append([]byte(key), 0), uint64(version))
}

// seal takes the personal fields out of an event's data: it appends the data to dst, with null in their place, and gives what they were,
// encrypted; nil where there are none.
func (s *secret) seal(dst []byte, e *Event, doc *jsonview.Doc, paths [][]string) (data, sealed []byte, err error) {
	plain := []byte{'['}
	n := 0
	data = rewrite(dst, doc, 0, paths, func(dst []byte, path []string, v jsonview.Node) []byte {
		if doc.Kind(v) == jsonview.Null {
			return append(dst, "null"...)
		}
		if n++; n > 1 {
			plain = append(plain, ',')
		}
		plain = append(plain, "[["...)
		for i, name := range path {
			if i > 0 {
				plain = append(plain, ',')
			}
			plain = jsonview.AppendString(plain, name)
		}
		plain = append(plain, "],"...)
		plain = append(doc.AppendJSON(plain, v), ']')
		return append(dst, "null"...)
	})
	if n == 0 {
		return data, nil, nil
	}
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+1+s.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, err
	}
	return data, s.aead.Seal(nonce, nonce, append(plain, ']'), about(e.Key, e.Version)), nil
}

// open puts the personal fields of an event back into its data.
func (s *secret) open(e *Event) error {
	n := s.aead.NonceSize()
	if len(e.sealed) < n {
		return errors.New("what is encrypted in it is cut off")
	}
	plain, err := s.aead.Open(nil, e.sealed[:n], e.sealed[n:], about(e.Key, e.Version))
	if err != nil {
		return errors.New("what is encrypted in it was changed")
	}
	var fields, doc jsonview.Doc
	fields.Reset(jsonview.JSON, plain)
	if err := fields.Parse(jsonview.Limits{}); err != nil {
		return err
	}
	doc.Reset(jsonview.JSON, e.Data)
	if err := doc.Parse(jsonview.Limits{}); err != nil {
		return err
	}
	var paths [][]string
	var values []jsonview.Node
	for f := fields.First(0); f != jsonview.None; f = fields.Next(f) {
		var path []string
		for p := fields.First(fields.Index(f, 0)); p != jsonview.None; p = fields.Next(p) {
			path = append(path, fields.Str(p, func(n int) []byte { return make([]byte, n) }))
		}
		paths, values = append(paths, path), append(values, fields.Index(f, 1))
	}
	e.Data = rewrite(nil, &doc, 0, paths, func(dst []byte, path []string, v jsonview.Node) []byte {
		for i := range paths {
			if same(paths[i], path) {
				return fields.AppendJSON(dst, values[i])
			}
		}
		return doc.AppendJSON(dst, v)
	})
	return nil
}

func same(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// rewrite appends the value n of d to dst, in which leaf writes what stands at the paths: names of fields, from n on.
func rewrite(dst []byte, d *jsonview.Doc, n jsonview.Node, paths [][]string, leaf func(dst []byte, path []string, v jsonview.Node) []byte) []byte {
	return rewriteAt(dst, d, n, nil, paths, leaf)
}

func rewriteAt(dst []byte, d *jsonview.Doc, n jsonview.Node, at []string, paths [][]string, leaf func([]byte, []string, jsonview.Node) []byte) []byte {
	below := false
	for _, p := range paths {
		if len(p) > len(at) && same(p[:len(at)], at) {
			below = true
		}
	}
	if !below || d.Kind(n) != jsonview.Object {
		return d.AppendJSON(dst, n)
	}
	dst = append(dst, '{')
	first := true
	var buf [64]byte
	for k := d.First(n); k != jsonview.None; k = d.Next(d.Value(k)) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		name, v := string(d.Key(k, buf[:0])), d.Value(k)
		dst = append(jsonview.AppendString(dst, name), ':')
		path := append(at[:len(at):len(at)], name)
		whole := false
		for _, p := range paths {
			whole = whole || same(p, path)
		}
		if whole {
			dst = leaf(dst, path, v)
		} else {
			dst = rewriteAt(dst, d, v, path, paths, leaf)
		}
	}
	return append(dst, '}')
}
