package conform

import (
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock/internal/store"
)

func entries(f *fixture) {
	long := strings.Repeat("long ", 50_000)
	f.do(func(tx store.Tx) error {
		k, v := []byte("k1"), []byte("v1")
		err := tx.Put("s", store.Entry{Key: k, Value: v})
		copy(k, "zz") // they are copied
		copy(v, "zz")
		return errors.Join(err, put("s", "", "empty")(tx), put("s", "k\x00", "")(tx), put("s", "\xff\xff", long)(tx), put("t", "k1", "other")(tx))
	})
	for _, c := range [][3]string{{"s", "k1", "v1"}, {"s", "", "empty"}, {"s", "k\x00", ""}, {"s", "\xff\xff", long}, {"t", "k1", "other"}} {
		if v, ok := f.get(c[0], c[1]); !ok || v != c[2] {
			f.Errorf("%s %q: %.20q %v", c[0], c[1], v, ok)
		}
	}
	for _, c := range [][2]string{{"s", "k2"}, {"s", "k"}, {"none", "k1"}} {
		if v, ok := f.get(c[0], c[1]); ok {
			f.Errorf("%s %q is there: %q", c[0], c[1], v)
		}
	}
	scan := func(after []byte, limit int) (k string) {
		f.view(func(v store.View) error {
			all, err := v.State().Scan("s", after, limit)
			k = fmt.Sprintf("%q", keys(all))
			return err
		})
		return k
	}
	f.equal("all", scan(nil, 10), `" k\x00 k1 \xff\xff"`)
	f.equal("two", scan(nil, 2), `" k\x00"`)
	f.equal("behind the empty key", scan([]byte{}, 10), `"k\x00 k1 \xff\xff"`)
	f.equal("behind k", scan([]byte("k"), 10), `"k\x00 k1 \xff\xff"`)
	f.equal("behind k1", scan([]byte("k1"), 10), `"\xff\xff"`)
	f.equal("none", scan(nil, 0), `""`)
	f.do(func(tx store.Tx) error {
		return errors.Join(put("s", "k1", "v2")(tx), tx.Delete("s", []byte("")), tx.Delete("s", []byte("nothing")), tx.Delete("none", []byte("k")),
			tx.Delete("s", []byte("k\x00")), put("s", "k\x00", "back")(tx))
	})
	f.reopen()
	f.equal("all", scan(nil, 10), `"k\x00 k1 \xff\xff"`)
	v, _ := f.get("s", "k1")
	f.equal("k1", v, "v2")
	v, _ = f.get("s", "k\x00")
	f.equal("k0", v, "back")
	// What is returned may be kept, and changed.
	f.do(func(tx store.Tx) error {
		e, _, err := tx.State().Get("s", []byte("k1"))
		copy(e.Value, "##")
		copy(e.Key, "##")
		e2, ok, err2 := tx.State().Get("s", []byte("k1"))
		f.equal("k1", []any{string(e2.Key), string(e2.Value), ok}, []any{"k1", "v2", true})
		return errors.Join(err, err2)
	})
}

func due(f *fixture) {
	at := func(space, key string, due int64) func(store.Tx) error {
		return func(tx store.Tx) error {
			return tx.Put(space, store.Entry{Key: []byte(key), Value: []byte(key), Due: due})
		}
	}
	for i, k := range []string{"c", "a", "b", "never", "late", "early"} {
		f.do(at("s", k, []int64{20, 20, 10, 0, 99, -5}[i]))
	}
	f.do(at("t", "x", 1))
	find := func(until int64, limit int) (k string) {
		f.view(func(v store.View) error {
			all, err := v.State().Due("s", until, limit)
			k = keys(all)
			for _, e := range all {
				f.equal("value", string(e.Value), string(e.Key))
			}
			return err
		})
		return k
	}
	f.equal("up to 20", find(20, 10), "early b a c")
	f.equal("up to 19", find(19, 10), "early b")
	f.equal("three", find(100, 3), "early b a")
	f.do(func(tx store.Tx) error {
		return errors.Join(at("s", "b", 30)(tx), at("s", "a", 0)(tx), tx.Delete("s", []byte("early")), at("s", "never", 25)(tx))
	})
	f.reopen()
	f.equal("later", find(100, 10), "c never b late")
	f.view(func(v store.View) error {
		e, ok, err := v.State().Get("s", []byte("b"))
		f.equal("due", []any{e.Due, ok}, []any{30, true})
		return err
	})
}

func spaces(f *fixture) {
	list := func(prefix string) (l []store.Space) {
		f.view(func(v store.View) (err error) {
			l, err = v.State().Spaces(prefix)
			return err
		})
		return l
	}
	f.equal("none", list(""), []store.Space{})
	const many = 1200
	f.do(func(tx store.Tx) error {
		for i := range many {
			if err := put("a/one", fmt.Sprintf("%04d", i), "123456")(tx); err != nil {
				return err
			}
		}
		return errors.Join(put("a/two", "k", "")(tx), put("b", "k", "vvv")(tx))
	})
	f.equal("all", list(""), []store.Space{{Name: "a/one", Entries: many, Bytes: 10 * many}, {Name: "a/two", Entries: 1, Bytes: 1}, {Name: "b", Entries: 1, Bytes: 4}})
	f.equal("a/", list("a/"), []store.Space{{Name: "a/one", Entries: many, Bytes: 10 * many}, {Name: "a/two", Entries: 1, Bytes: 1}})
	f.do(func(tx store.Tx) error {
		return errors.Join(put("b", "k", "v")(tx), put("b", "l", "v")(tx), tx.Delete("a/two", []byte("k")), tx.Delete("b", []byte("none")))
	})
	f.equal("counted", list(""), []store.Space{{Name: "a/one", Entries: many, Bytes: 10 * many}, {Name: "b", Entries: 2, Bytes: 4}})
	f.reopen()
	// Overwriting and deleting what is not in any cache.
	f.do(func(tx store.Tx) error {
		return errors.Join(put("b", "k", "vvvv")(tx), tx.Delete("b", []byte("l")), put("b", "m", "")(tx), tx.Delete("b", []byte("none")))
	})
	f.equal("counted", list("b"), []store.Space{{Name: "b", Entries: 2, Bytes: 6}})
	f.do(func(tx store.Tx) error {
		err := put("a/one", "0001", "pending")(tx)
		err2 := tx.Clear("a/one")
		return errors.Join(err, err2, put("a/one", "new", "x")(tx), tx.Clear("none"))
	})
	for range 2 {
		f.equal("cleared", list("a"), []store.Space{{Name: "a/one", Entries: 1, Bytes: 4}})
		f.view(func(v store.View) error {
			all, err := v.State().Scan("a/one", nil, 10)
			f.equal("cleared", keys(all), "new")
			return err
		})
		f.reopen()
	}
	f.do(func(tx store.Tx) error { return tx.Clear("a/one") })
	f.equal("cleared", list("a"), []store.Space{})
}
