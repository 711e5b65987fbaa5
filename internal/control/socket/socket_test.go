package socket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is what a process offers.
type fake struct {
	operate.Flows
	operate.DeadLetters
	operate.Journal
	operate.Keeper
	operate.Remains

	status func(context.Context) (*operate.Status, error)
	each   func(context.Context, operate.Selection, func(*operate.DeadLetter) error) error
	acted  operate.Action
	who    []string
}

func (f *fake) DropStep(_ context.Context, s operate.StepDrop) (*operate.StepMoved, error) {
	f.who = append(f.who, s.Who)
	return &operate.StepMoved{Step: s.Step, Entries: 1}, nil
}

func (f *fake) RenameStep(_ context.Context, s operate.StepRename) (*operate.StepMoved, error) {
	f.who = append(f.who, s.Who)
	return &operate.StepMoved{Step: s.Step, To: s.To, Messages: 2}, nil
}

func (f *fake) Forget(_ context.Context, g operate.GroupForget) (*operate.GroupForgotten, error) {
	f.who = append(f.who, g.Who)
	return &operate.GroupForgotten{Channel: g.Channel, Group: g.Group, Lag: 3}, nil
}

func (f *fake) Status(ctx context.Context) (*operate.Status, error) { return f.status(ctx) }
func (f *fake) Each(ctx context.Context, s operate.Selection, visit func(*operate.DeadLetter) error) error {
	return f.each(ctx, s, visit)
}

func (f *fake) Act(_ context.Context, a operate.Action, progress func(operate.Acted) error) (*operate.Acted, error) {
	f.acted = a
	for n := range int64(3) {
		if err := progress(operate.Acted{Verb: a.Verb, Count: n}); err != nil {
			return nil, err
		}
	}
	return &operate.Acted{Verb: a.Verb, Flow: a.Flow, Count: 3, Left: 4}, nil
}

func (f *fake) Info(context.Context) (*operate.StoreInfo, error) { panic("a fault") }

// shortDir is a private folder whose path is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ps")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve listens for a store of its own, and dials.
func serve(t *testing.T, f *fake) (ops *operate.Operations, s *socket.Server, store string) {
	t.Helper()
	store = filepath.Join(shortDir(t), "store.db")
	l, err := socket.Listen(t.Context(), store, false)
	if err != nil {
		t.Fatal(err)
	}
	s = socket.Serve(l, &operate.Operations{Flows: f, Dead: f, Journal: f, Store: f, Remains: f})
	t.Cleanup(func() { closeNow(s) })
	ops, err = socket.Dial(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ops.Close() })
	return ops, s, store
}

func closeNow(s *socket.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Close(ctx)
}

func TestSocketIsItsOwnersAlone(t *testing.T) {
	_, s, store := serve(t, &fake{})
	at := filepath.Join(filepath.Dir(store), "control.sock")
	info, err := os.Lstat(at)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("the socket has rights %s", got)
	}
	closeNow(s)
	if _, err := os.Lstat(at); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := socket.Dial(t.Context(), store); !errors.Is(err, socket.ErrNobody) {
		t.Errorf("dialling nobody gives %v", err)
	}
}

func TestFolderThatIsOpenOrDeepIsNotUsed(t *testing.T) {
	open := shortDir(t)
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(shortDir(t), strings.Repeat("deep/", 20))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	tmp := shortDir(t)
	t.Setenv("TMPDIR", tmp)
	for _, dir := range []string{open, deep, filepath.Join(open, "not", "there")} {
		store := filepath.Join(dir, "store.db")
		l, err := socket.Listen(t.Context(), store, false)
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().String()
		if filepath.Dir(filepath.Dir(at)) != tmp {
			t.Errorf("%s listens at %s", store, at)
		}
		if info, err := os.Stat(filepath.Dir(at)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder has rights %v: %v", info.Mode(), err)
		}
		f := &fake{status: func(context.Context) (*operate.Status, error) { return &operate.Status{PID: 7}, nil }}
		s := socket.Serve(l, &operate.Operations{Flows: f})
		ops, err := socket.Dial(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := ops.Flows.Status(t.Context()); err != nil || st.PID != 7 {
			t.Errorf("%v, %v", st, err)
		}
		_ = ops.Close()
		closeNow(s)
	}
}

func TestFolderOfSomebodyElseIsRefused(t *testing.T) {
	tmp := shortDir(t)
	t.Setenv("TMPDIR", tmp)
	dir := filepath.Join(tmp, fmt.Sprintf("penstock-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := socket.Listen(t.Context(), "not-there/store.db", false)
	if penstock.CodeOf(err) != penstock.Forbidden || !strings.Contains(err.Error(), "open to others") {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Symlink(shortDir(t), dir)); err != nil {
		t.Fatal(err)
	}
	if _, err = socket.Listen(t.Context(), "not-there/store.db", false); err == nil || !strings.Contains(err.Error(), "no folder") {
		t.Errorf("got %v", err)
	}
}

func TestStaleSocketIsReplacedALiveOneIsNot(t *testing.T) {
	store := filepath.Join(shortDir(t), "store.db")
	at := filepath.Join(filepath.Dir(store), "control.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close() // as a process that was killed leaves it
	if _, err := socket.Dial(t.Context(), store); !errors.Is(err, socket.ErrNobody) {
		t.Errorf("dialling the dead gives %v", err)
	}
	first, err := socket.Listen(t.Context(), store, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Listen(t.Context(), store, false); !errors.Is(err, socket.ErrTaken) {
		t.Errorf("a second one gets %v", err)
	}
	second, err := socket.Listen(t.Context(), store, true)
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close() // must not take the other's socket away
	if _, err := os.Lstat(at); err != nil {
		t.Errorf("the socket of the second is gone: %v", err)
	}
	_ = second.Close()
}

func TestWhatGoesOverComesOut(t *testing.T) {
	want := &operate.Status{Running: true, PID: 12, Seconds: 1.5, Flows: []operate.FlowStatus{{Flow: "a", State: operate.StateRunning, Read: 1 << 60, Lag: 3}}, Channels: []operate.ChannelStatus{}}
	letters := []operate.DeadLetter{
		{ID: "a.dead@1", Body: json.RawMessage(`{"n":1e400,"t":"<&>"}`), Meta: json.RawMessage(`{"dead":{"code":"invalid","step":"check","attempts":2}}`), Open: true, Record: []byte{0, 255}},
		{ID: "a.dead@2", Body: json.RawMessage(`"AP8="`), Encoding: "base64", Key: "k", Meta: json.RawMessage(`{}`)},
	}
	var asked operate.Selection
	f := &fake{
		status: func(context.Context) (*operate.Status, error) { return want, nil },
		each: func(_ context.Context, s operate.Selection, visit func(*operate.DeadLetter) error) error {
			asked = s
			for i := range letters {
				if err := visit(&letters[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	ops, _, _ := serve(t, f)
	got, err := ops.Flows.Status(t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("status: %+v, %v", got, err)
	}
	sel := operate.Selection{Flow: "a", IDs: []string{"a.dead@1"}, Where: `key == "<"`, Limit: 9, Records: true}
	var seen []operate.DeadLetter
	if err := ops.Dead.Each(t.Context(), sel, func(d *operate.DeadLetter) error { seen = append(seen, *d); return nil }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(asked, sel) {
		t.Errorf("asked for %+v", asked)
	}
	if len(seen) != 2 || string(seen[0].Body) != string(letters[0].Body) || seen[0].Reason.Step != "check" || seen[0].Reason.Attempts != 2 || !reflect.DeepEqual(seen[0].Record, letters[0].Record) || seen[1].Key != "k" {
		t.Errorf("saw %+v", seen)
	}
	var counts []int64
	acted, err := ops.Dead.Act(t.Context(), operate.Action{Selection: sel, Verb: operate.Drop, Who: "mallory"}, func(a operate.Acted) error { counts = append(counts, a.Count); return nil })
	if err != nil || acted.Left != 4 || !reflect.DeepEqual(counts, []int64{0, 1, 2}) {
		t.Errorf("acted %+v %v %v", acted, counts, err)
	}
	if f.acted.Who == "mallory" {
		t.Error("the process believes who somebody says to be")
	}
}

func TestErrorsKeepTheirParts(t *testing.T) {
	inner := &penstock.Error{Code: penstock.NotFound, Op: "read", Path: "x.db", Hint: "look", Err: errors.New("gone")}
	f := &fake{status: func(context.Context) (*operate.Status, error) {
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "ps", Err: inner}
	}}
	ops, _, _ := serve(t, f)
	_, err := ops.Flows.Status(t.Context())
	var outer, in *penstock.Error
	if !errors.As(err, &outer) || !errors.As(outer.Err, &in) || *in != (penstock.Error{Code: in.Code, Op: in.Op, Path: in.Path, Hint: in.Hint, Err: in.Err}) {
		t.Fatalf("got %#v", err)
	}
	if outer.Code != penstock.Unavailable || in.Code != penstock.NotFound || in.Path != "x.db" || in.Hint != "look" || in.Err.Error() != "gone" {
		t.Errorf("got %v", err)
	}
	if _, err := ops.Store.Info(t.Context()); penstock.CodeOf(err) != penstock.Internal || !strings.Contains(err.Error(), "fault of penstock") {
		t.Errorf("a panic gives %v", err)
	}
}

func TestCallerThatGoesAwayEndsTheOperation(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	f := &fake{status: func(ctx context.Context) (*operate.Status, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}
	ops, _, _ := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		<-began
		cancel()
		<-ended
	})
	if _, err := ops.Flows.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wg.Wait()
}

func TestEndOfTheProcessEndsOperations(t *testing.T) {
	began := make(chan struct{})
	f := &fake{status: func(ctx context.Context) (*operate.Status, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	ops, s, _ := serve(t, f)
	var wg sync.WaitGroup
	wg.Go(func() {
		<-began
		closeNow(s)
	})
	_, err := ops.Flows.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the process ends") && !strings.Contains(err.Error(), "went away") {
		t.Errorf("got %v", err)
	}
	wg.Wait()
}

// TestWrongRequests asks what no command asks.
func TestWrongRequests(t *testing.T) {
	_, _, store := serve(t, &fake{})
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", filepath.Join(filepath.Dir(store), "control.sock"))
	}}}
	for _, tc := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"POST", "/v2/status", "{}", 404, ""},
		{"POST", "/", "{}", 404, ""},
		{"GET", "/v1/status", "", 405, "POST"},
		{"POST", "/v1/dead/show", "{", 200, `{"error":{"code":"invalid"`},
		{"POST", "/v1/dead/show", `{"id":` + strings.Repeat(" ", 2<<20) + `"x"}`, 413, "too large"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://x"+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", tc.method, tc.path, err)
			continue
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != tc.status || !strings.Contains(string(text), tc.answer) {
			t.Errorf("%s %s gives %d %s", tc.method, tc.path, res.StatusCode, text)
		}
	}
}

// TestRemainsGoThrough asks for what is done with remains, and who is written down.
func TestRemainsGoThrough(t *testing.T) {
	f := &fake{}
	ops, _, _ := serve(t, f)
	m, err := ops.Remains.DropStep(t.Context(), operate.StepDrop{Step: "a/b", Who: "nobody at all"})
	if err != nil || *m != (operate.StepMoved{Step: "a/b", Entries: 1}) {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = ops.Remains.RenameStep(t.Context(), operate.StepRename{Step: "a/b", To: "a/c", Who: "nobody at all"})
	if err != nil || *m != (operate.StepMoved{Step: "a/b", To: "a/c", Messages: 2}) {
		t.Errorf("%+v, %v", m, err)
	}
	g, err := ops.Remains.Forget(t.Context(), operate.GroupForget{Channel: "a", Group: "b/from", Who: "nobody at all"})
	if err != nil || *g != (operate.GroupForgotten{Channel: "a", Group: "b/from", Lag: 3}) {
		t.Errorf("%+v, %v", g, err)
	}
	if len(f.who) != 3 || runtime.GOOS == "linux" && slices.Contains(f.who, "nobody at all") {
		t.Errorf("written down are %q", f.who)
	}
}
