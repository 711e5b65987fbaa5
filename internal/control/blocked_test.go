package control_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

const ledger = `apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: account }
spec:
  state: { initial: { balance: 0 } }
  commands:
    open: { emit: [ { event: Opened } ] }
    move: { emit: [ { event: Moved, data: { amount: "${body.amount}" } } ] }
  events:
    Opened: { apply: { owner: "${body.id}" } }
    Moved: { apply: { balance: "${int(state.balance) + int(body.amount)}" } }
  publish: { channel: news, events: [ Opened ] }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: news }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: act }
spec:
  from: { stdin: { format: { json: {} } } }
  steps:
    - choice:
        - when: body.do == "open"
          steps: [ { command: { entity: account, name: open, key: string(body.id) } } ]
        - otherwise: [ { command: { entity: account, name: move, key: string(body.id) } } ]
  to: { drop: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: sent }
spec:
  from: { channel: news }
  steps: [ { map: { sent: "${key}" } } ]
  to: { stdout: { format: { json: {} } } }
`

const journal = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: journal }
spec:
  from: { entity: account }
  steps: [ { map: { key: "${key}", version: "${meta.version}", type: '${meta["ce-type"]}' } } ]
  to: { stdout: { format: { json: {} } } }
`

// started is a run of a configuration in a folder, with what it writes.
type started struct {
	*changing
	lines *bufio.Scanner
	at    string // its control port
	ops   func() *operate.Operations
}

// starts runs a configuration in a folder.
func starts(t *testing.T, dir, text string) *started {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "flows.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	shown, out := io.Pipe()
	s := &started{changing: &changing{t: t, dir: dir, hangup: make(chan os.Signal), told: make(chan *control.Reloaded), stdin: feed, over: make(chan error, 1)}, lines: bufio.NewScanner(shown), at: "http://" + l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p, at := control.Project{Paths: []string{dir}}, filepath.Join(dir, "store.db")
	service := &control.Service{Registry: edition.Standard()}
	c := service.Check(p, false)
	if !c.OK {
		t.Fatal(c.Findings)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	t.Cleanup(stop)
	go func() {
		defer out.Close()
		_, err := service.Run(ctx, c, control.RunOptions{Project: p, Store: at, Listen: true, Hangup: s.hangup, Reloaded: func(r *control.Reloaded) { s.told <- r }, Stdin: in, Stdout: out,
			Control: l.Addr().String()})
		s.over <- err
	}()
	s.ops = func() *operate.Operations {
		for {
			ops, err := service.Operate(context.Background(), control.Place{Store: at, Project: p})
			if err != nil {
				t.Fatal(err)
			}
			if ops.Remote {
				t.Cleanup(func() { _ = ops.Close() })
				return ops
			}
			_ = ops.Close()
		}
	}
	return s
}

// reads reads so many lines of what the run writes.
func (s *started) reads(n int) (out []string) {
	s.t.Helper()
	for range n {
		if !s.lines.Scan() {
			s.t.Fatal("nothing more is written: ", s.lines.Err(), <-s.over)
		}
		out = append(out, s.lines.Text())
	}
	return out
}

// get asks the control port.
func (s *started) get(path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.at+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// flow is what `ps` says of a flow, once it is in a state. One that is to be blocked must not come to the end of what there is to read.
func (s *started) flow(name, state string) operate.FlowStatus {
	s.t.Helper()
	ops := s.ops()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for is := ""; ; {
		st, err := ops.Flows.Status(ctx)
		if err != nil {
			s.t.Fatalf("%s is not %s: %s; %v", name, state, is, err)
		}
		for _, f := range st.Flows {
			if f.Flow != name {
				continue
			}
			if f.State == state {
				return f
			}
			if is = fmt.Sprintf("%+v", f); state == operate.StateBlocked && f.Read > 0 && f.Lag == 0 {
				s.t.Fatalf("%s has gone past the event that it can't read: %s", name, is)
			}
		}
	}
}

// TestAFlowStandsAtAnEventThatItCantRead has a flow meet an event of a type that the configuration has no more, and one whose upcast fails: it stands there, says so, and
// other flows go on; once the configuration knows the event it goes on with that one, by a reload or at the next start.
func TestAFlowStandsAtAnEventThatItCantRead(t *testing.T) {
	renamed := strings.ReplaceAll(ledger, "Moved", "Shifted")
	broken := strings.Replace(ledger, "Moved: {", "Moved: { version: 2, upcast: [ { from: 1, map: { amount: \"${body.sum}\" } } ],", 1)
	for name, c := range map[string]struct{ text, why string }{
		"a type that is gone":  {renamed, "no event of this type is in the configuration"},
		"an upcast that fails": {broken, "`upcast` from version 1 fails"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			first := starts(t, dir, ledger)
			first.feed(`{"do":"open","id":"a"}{"do":"move","id":"a","amount":5}{"do":"move","id":"a","amount":-2}` + "\n")
			first.reads(1)
			first.ends()

			s := starts(t, dir, c.text+journal)
			if got := s.reads(1); got[0] != `{"key":"a","version":1,"type":"Opened"}` {
				t.Fatalf("%s", got)
			}
			at := s.flow("journal", operate.StateBlocked)
			if len(at.Blocked) != 1 || at.Blocked[0].Event != "entity/account#00@1" || at.Blocked[0].Type != "Moved" || at.Blocked[0].Key != "a" || !strings.Contains(at.Blocked[0].Message, c.why) {
				t.Errorf("%+v", at.Blocked)
			}
			s.feed(`{"do":"open","id":"b"}` + "\n")
			if got := s.reads(1); got[0] != `{"sent":"b"}` { // another flow goes on, and this one has not skipped what is behind
				t.Errorf("%s", got)
			}
			if code, text := s.get("/readyz?verbose"); code != 200 || !strings.Contains(text, "[~]flows degraded: flow journal stands at event entity/account#00@1: internal") {
				t.Errorf("%d %s", code, text)
			}
			if code, _ := s.get("/readyz/flows"); code != 503 {
				t.Errorf("/readyz/flows: %d", code)
			}
			if _, text := s.get("/metrics"); !strings.Contains(text, `penstock_flow_state{flow="journal",state="blocked"} 1`) || !strings.Contains(text, `penstock_flow_state{flow="act",state="running"} 1`) {
				t.Error(text)
			}
			if r := s.becomes(c.text + journal + "# the same\n"); !r.OK {
				t.Fatalf("%+v", r)
			}
			s.flow("journal", operate.StateBlocked)
			if r := s.becomes(ledger + journal); !r.OK {
				t.Fatalf("%+v", r)
			}
			of := map[string][]string{} // in the order of their key
			for _, line := range s.reads(3) {
				of[line[:len(`{"key":"a"`)]] = append(of[line[:len(`{"key":"a"`)]], line)
			}
			if a, b := of[`{"key":"a"`], of[`{"key":"b"`]; !slices.Equal(a, []string{`{"key":"a","version":2,"type":"Moved"}`, `{"key":"a","version":3,"type":"Moved"}`}) || len(b) != 1 {
				t.Errorf("%s", of)
			}
			s.flow("journal", operate.StateRunning)
			if code, _ := s.get("/readyz/flows"); code != 200 {
				t.Errorf("/readyz/flows: %d", code)
			}
			s.ends()
		})
	}
}

// TestAReloadKeepsTheOrderOfWhatStood has a flow stand at an event, with others read behind it, again and again, until a reload brings what knows them: they come in their order.
func TestAReloadKeepsTheOrderOfWhatStood(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	all := strings.Replace(ledger, "events: [ Opened ]", "events: [ Opened, Moved ]", 1) // so that it is seen what has happened
	renamed := strings.ReplaceAll(all, "Moved", "Shifted")
	s := starts(t, dir, all)
	becomes := func(text string) {
		t.Helper()
		if r := s.becomes(text); !r.OK {
			t.Fatalf("%+v: %v", r, r.Error)
		}
	}
	const rounds, each = 20, 8
	version := 0
	for range rounds {
		s.feed(strings.Repeat(`{"do":"move","id":"a","amount":5}`, each) + "\n")
		s.reads(each)
		s.feed(`{"do":"open","id":"a"}` + "\n") // on its own: the branches of a choice are done one after the other
		s.reads(1)
		becomes(renamed + journal)
		s.flow("journal", operate.StateBlocked)
		becomes(all + journal)
		for _, line := range s.reads(each + 1) {
			version++
			if !strings.HasPrefix(line, fmt.Sprintf(`{"key":"a","version":%d,`, version)) {
				t.Fatalf("%s comes in the place of version %d", line, version)
			}
		}
		becomes(all) // nobody reads the events
	}
	s.ends()
}

// TestWhatStandsAtAnEventEndsWithItsRun: nobody sends any more, so that the run ends, with an error that names the event; the next one goes on there.
func TestWhatStandsAtAnEventEndsWithItsRun(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	first := starts(t, dir, ledger)
	first.feed(`{"do":"open","id":"a"}{"do":"move","id":"a","amount":5}` + "\n")
	first.reads(1)
	first.ends()
	s := starts(t, dir, strings.ReplaceAll(ledger, "Moved", "Shifted")+journal)
	s.reads(1)
	s.flow("journal", operate.StateBlocked)
	if err := s.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-s.over; err == nil || !strings.Contains(err.Error(), "journal") || !strings.Contains(err.Error(), "entity/account#00@1") {
		t.Errorf("%v", err)
	}
	again := starts(t, dir, ledger+journal)
	if got := again.reads(1); got[0] != `{"key":"a","version":2,"type":"Moved"}` {
		t.Errorf("%s", got)
	}
	again.ends()
}

// TestWhatStandsAtAnEventIsStopped: who stops a run does not wait for it.
func TestWhatStandsAtAnEventIsStopped(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	first := starts(t, dir, ledger)
	first.feed(`{"do":"open","id":"a"}{"do":"move","id":"a","amount":5}` + "\n")
	first.reads(1)
	first.ends()
	s := starts(t, dir, strings.ReplaceAll(ledger, "Moved", "Shifted")+journal)
	s.reads(1)
	s.flow("journal", operate.StateBlocked)
	s.stop()
	if err := <-s.over; err != nil {
		t.Errorf("%v", err)
	}
}

// telling is the ledger whose flow tells the state behind each command, and which makes snapshots often. Its events go to no channel, so that nothing waits for more.
var telling = strings.Replace(strings.Replace(ledger[:strings.Index(ledger, "---\napiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: sent }")], "  to: { drop: {} }", "    - map: { version: \"${body.version}\", state: \"${body.state}\" }\n  to: { stdout: { format: { json: {} } } }", 1),
	"  publish: { channel: news, events: [ Opened ] }\n", "  snapshot: { every: 2 }\n", 1)

// TestAnEntityIsReloaded changes an entity while the run goes on: what an event does to the state, which makes snapshots and what is remembered worth nothing; a command and
// an event that are new, which the flow that reads events sees; a definition that is wrong, which changes nothing.
func TestAnEntityIsReloaded(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := starts(t, dir, telling)
	does := func(do, want string) {
		t.Helper()
		s.feed(do + "\n")
		if got := s.reads(1); got[0] != want {
			t.Errorf("%s gives %s, want %s", do, got[0], want)
		}
	}
	does(`{"do":"open","id":"a"}`, `{"version":1,"state":{"balance":0,"owner":"a"}}`)
	does(`{"do":"move","id":"a","amount":5}`, `{"version":2,"state":{"balance":5,"owner":"a"}}`)
	does(`{"do":"move","id":"a","amount":-2}`, `{"version":3,"state":{"balance":3,"owner":"a"}}`)

	twice := strings.Replace(telling, "int(state.balance) + int(body.amount)", "int(state.balance) + 2 * int(body.amount)", 1)
	if r := s.becomes(twice); !r.OK {
		t.Fatalf("%+v", r)
	}
	does(`{"do":"move","id":"a","amount":1}`, `{"version":4,"state":{"balance":8,"owner":"a"}}`)

	wrong := strings.Replace(twice, "body.amount)}\" } }\n", "body.amount)}\" } }\n    Closed: { apply: { at: \"${now}\" } }\n", 1)
	if r := s.becomes(wrong); r.OK || r.Errors == 0 {
		t.Fatalf("%+v", r)
	}
	does(`{"do":"move","id":"a","amount":1}`, `{"version":5,"state":{"balance":10,"owner":"a"}}`)

	grown := strings.Replace(wrong, "at: \"${now}\"", "closed: true", 1)
	grown = strings.Replace(grown, "    move: {", "    close: { emit: [ { event: Closed } ] }\n    move: {", 1)
	grown = strings.Replace(grown, "        - otherwise:", "        - when: body.do == \"close\"\n          steps: [ { command: { entity: account, name: close, key: string(body.id) } } ]\n        - otherwise:", 1)
	if r := s.becomes(grown); !r.OK {
		t.Fatalf("%+v", r.Findings)
	}
	does(`{"do":"close","id":"a"}`, `{"version":6,"state":{"balance":10,"owner":"a","closed":true}}`)
	if r := s.becomes(grown + journal); !r.OK {
		t.Fatalf("%+v", r)
	}
	if got := s.reads(6); got[5] != `{"key":"a","version":6,"type":"Closed"}` {
		t.Errorf("%s", got)
	}
	// Without the event the flow that has read it already goes on, and a command that has to read it says so.
	if r := s.becomes(twice + journal); !r.OK {
		t.Fatalf("%+v", r)
	}
	s.feed(`{"do":"open","id":"b"}` + "\n")
	got := s.reads(2) // of two flows
	slices.Sort(got)
	if !slices.Equal(got, []string{`{"key":"b","version":1,"type":"Opened"}`, `{"version":1,"state":{"balance":0,"owner":"b"}}`}) {
		t.Errorf("%s", got)
	}
	s.ends()
}
