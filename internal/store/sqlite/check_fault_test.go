package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// longer multiplies the effort of tests by PENSTOCK_FAULTS: 1 where it is not set.
func longer(n int) int {
	if by, err := strconv.Atoi(os.Getenv("PENSTOCK_FAULTS")); err == nil && by > 0 {
		return n * by
	}
	return n
}

// contents is everything that can be read of a store, as others read it, or an error.
func contents(s store.Store) (all []string, err error) {
	err = s.View(context.Background(), func(v store.View) error {
		say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
		channels, err := v.Log().Channels()
		if err != nil {
			return err
		}
		for _, b := range channels {
			say("%+v", b)
			for p := b.First; p < b.Next; {
				segments, err := v.Log().Segments(b.Channel, p, 50_000)
				if err != nil {
					return err
				}
				if len(segments) == 0 {
					say("nothing from %d on", p)
					break
				}
				for _, s := range segments {
					say("%s %d %d %d %d %x", s.Channel, s.Base, s.N, s.MinTime, s.MaxTime, checksum(s.Data))
					p = s.End()
				}
			}
			for _, at := range []int64{0, 50, 1 << 40} {
				p, err := v.Log().Seek(b.Channel, time.Unix(0, at))
				if err != nil {
					return err
				}
				say("%d from %d on", p, at)
			}
		}
		spaces, err := v.State().Spaces("")
		if err != nil {
			return err
		}
		for _, sp := range spaces {
			say("%+v", sp)
			entries, err := v.State().Scan(sp.Name, nil, 1e6)
			if err != nil {
				return err
			}
			due, err := v.State().Due(sp.Name, 1<<60, 1e6)
			if err != nil {
				return err
			}
			for _, e := range append(entries, due...) {
				say("%q %d %x", e.Key, e.Due, checksum(e.Value))
			}
		}
		for i := range 120 {
			e, ok, err := v.State().Get("many", fmt.Append(nil, "key ", i))
			if err != nil {
				return err
			}
			say("%v %q %d %x", ok, e.Key, e.Due, checksum(e.Value))
		}
		return nil
	})
	return all, err
}

// filled makes a file with something of everything.
func filled(t *testing.T) []byte {
	t.Helper()
	path := newPath(t)
	d := mustOpen(t, Options{Path: path})
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for i := range 40 {
		mustDo(t, d, func(tx store.Tx) error {
			for _, ch := range []string{"orders", "orders.dead", "a channel"} {
				var frames []byte
				for range 1 + i%4 {
					frames = store.AppendFrame(frames, noise(20+i*i))
				}
				if _, err := tx.Append(ch, store.Bundle{N: 1 + i%4, Data: frames, MinTime: int64(i), MaxTime: int64(i + 10)}); err != nil {
					return err
				}
			}
			for k := range 3 {
				if err := tx.Put("many", store.Entry{Key: fmt.Append(nil, "key ", 3*i+k), Value: noise(8 + 5*i), Due: int64(i % 3)}); err != nil {
					return err
				}
			}
			return errors.Join(tx.Put("cursor/orders", store.Entry{Key: []byte("position"), Value: fmt.Append(nil, i)}),
				tx.Put("large", store.Entry{Key: []byte{byte(i)}, Value: noise(i * 100)}))
		})
	}
	mustDo(t, d, func(tx store.Tx) error { _, err := tx.Drop("orders", 10); return err })
	mustDo(t, d, putEntry("s", "k", nil)) // sweeps
	mustClose(t, d)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestFlippedBytes damages one place after the other: no row is read that was not written, errors name a way out, and a check
// reports whatever is not as it was; so does the verification of a backup.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	good := filled(t)
	ctx := context.Background()
	path := newPath(t)
	write := func(b []byte) {
		for _, suffix := range []string{"-wal", "-shm"} {
			_ = os.Remove(path + suffix) // it may not be there
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(good)
	if r, err := Verify(ctx, path, nil); err != nil || r.Unchecked != "" || r.Channels != 3 || r.Spaces != 4 {
		t.Fatalf("%+v %v", r, err)
	}
	d := mustOpen(t, Options{Path: path})
	want, err := contents(d)
	if err != nil {
		t.Fatal(err)
	}
	said := int64(-1)
	if r, err := d.Check(ctx, func(done, total int64) error { said = done - total; return nil }); err != nil || len(r.Problems) > 0 || r.Unchecked != "" || said > 0 {
		t.Fatalf("%+v %v %d", r, err, said)
	}
	mustClose(t, d)

	random := rand.New(rand.NewPCG(3, uint64(longer(1))))
	served, refused, unnoticed, silent := 0, 0, 0, 0
	for range longer(80) {
		bad := bytes.Clone(good)
		at := random.IntN(len(bad))
		switch random.IntN(4) {
		case 0: // a bit
			bad[at] ^= 1 << random.IntN(8)
		case 1: // a byte, mostly where pages have their structure
			at = at / pageSize * pageSize
			at += random.IntN(64)
			bad[at] = byte(random.Uint32())
		case 2: // a sector
			at = at / 512 * 512
			clear(bad[at : at+512])
		case 3: // a page of another place
			from := random.IntN(len(bad)/pageSize) * pageSize
			at = at / pageSize * pageSize
			copy(bad[at:at+pageSize], good[from:from+pageSize])
		}
		if bytes.Equal(bad, good) {
			continue
		}
		where := fmt.Sprintf("%d (page %d, %d)", at, at/pageSize+1, at%pageSize)
		write(bad)
		r, verr := Verify(ctx, path, nil)
		if verr == nil && r == nil || verr != nil && !strings.Contains(verr.Error(), "the store") && r == nil {
			t.Errorf("%s: %v", where, verr)
		}
		d, err := Open(ctx, patient(Options{Path: path}))
		if err != nil {
			refused++
			if verr == nil {
				t.Errorf("%s: it can't be opened, and verified: %v", where, err)
			}
			if c := penstock.CodeOf(err); c != penstock.Internal && c != penstock.Config {
				t.Errorf("%s: %v", where, err)
			}
			continue
		}
		got, err := contents(d)
		report, cerr := d.Check(ctx, nil)
		if cerr != nil {
			t.Errorf("%s: the check fails: %v", where, cerr)
		}
		problem := cerr == nil && len(report.Problems) > 0
		switch {
		case err != nil:
			refused++
			if !strings.Contains(err.Error(), "backup restore") {
				t.Errorf("%s: an error without a way out: %v", where, err)
			}
			if !problem || verr == nil {
				t.Errorf("%s: a check finds nothing where reading finds %v; verify: %v", where, err, verr)
			}
		case fmt.Sprint(got) != fmt.Sprint(want):
			served++
			if !problem || verr == nil {
				t.Errorf("%s: served, and a check finds nothing; verify: %v", where, verr)
			}
		case problem:
			silent++
		default:
			unnoticed++
		}
		mustClose(t, d)
	}
	t.Logf("refused %d, served %d; not read, but found by a check %d; in unused room %d", refused, served, silent, unnoticed)
	// Rows carry checksums. What is between them, the structure of the trees, has none: SQLite finds most of what is impossible there, but
	// rows that are out of sight, or found by one way and not by another, only a check finds.
	if refused == 0 || served > refused/20 {
		t.Errorf("refused %d, served %d", refused, served)
	}
}
