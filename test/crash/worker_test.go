package crash_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/worker"
)

// workerEnv tells this binary that it is to do jobs: the URL of the program that has them.
const workerEnv = "PENSTOCK_CRASH_WORKER"

// labour does jobs, one at a time: it says which one it has begun, and is done with it when it is told a line.
func labour(url string, in io.Reader, out io.Writer) error {
	told := bufio.NewScanner(in)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	return worker.New(url, "outside", worker.Options{Concurrency: 1, Prefetch: -1, Wait: time.Second}).Run(ctx, func(ctx context.Context, j *worker.Job) error {
		_, err := fmt.Fprintln(out, "began", j.ID, j.Attempt)
		if !told.Scan() {
			stop()
		} else if err == nil && told.Text() == "when it is lost" {
			<-ctx.Done()
			_, err = fmt.Fprintln(out, "lost", errors.Is(context.Cause(ctx), worker.ErrLost))
		}
		return err
	})
}

// TestAWorkerThatSleepsIsFenced stops a worker until another one has its job: while that one still holds it, and when it has done it. What the first says when it wakes up is
// refused, it hears that the job is lost, and goes on with others.
func TestAWorkerThatSleepsIsFenced(t *testing.T) {
	y := newYard(t, "{ path: s.db }", 3*time.Second, 1, func(dir string) store.Store {
		st, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "s.db")})
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
	p := y.peers[0]
	y.begin(p)
	c := y.client(0)
	c.Timeout = limit
	defer c.CloseIdleConnections()
	post := func(path, body string, into any) (status int) {
		t.Helper()
		y.until("it answers", func() (ok bool) {
			var err error
			status, err = c.post(t.Context(), path, body, into)
			return err == nil && status < 500
		})
		return status
	}
	counts := func() (l jobs.QueueLook) {
		t.Helper()
		res, err := c.Get("http://" + p.at + "/v1alpha1/queues/outside")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if err := json.NewDecoder(res.Body).Decode(&l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"=http://"+p.at)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	enqueue := func(nr int) string {
		t.Helper()
		var is struct{ ID string }
		if status := post("/jobs", fmt.Sprintf(`{"nr":%d}`, nr), &is); status != http.StatusOK {
			t.Fatal(status)
		}
		return is.ID
	}
	id := enqueue(0)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	said := bufio.NewScanner(out)
	says := func(want string) {
		t.Helper()
		if !said.Scan() || said.Text() != want {
			t.Fatalf("the worker says %q, want %q (%v)", said.Text(), want, said.Err())
		}
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	tell := func(line string) {
		t.Helper()
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	says(fmt.Sprintf("began %s 1", id))
	for round, before := range []bool{false, true} { // the other has done it before the first wakes up
		signal(syscall.SIGSTOP)
		was := counts()
		var got struct{ Jobs []given }
		y.until("another gets the job", func() bool {
			return post("/v1alpha1/queues/outside/lease", `{"max":1,"waitMs":20000,"leaseMs":20000,"worker":"another"}`, &got) == http.StatusOK && len(got.Jobs) > 0
		})
		if got.Jobs[0].ID != id {
			t.Fatalf("another gets %s, want %s", got.Jobs[0].ID, id)
		}
		held := got.Jobs[0]
		complete := func() {
			t.Helper()
			if status := post("/v1alpha1/queues/outside/complete", fmt.Sprintf(`{"jobs":[{"id":%q,"epoch":%d}]}`, held.ID, held.Epoch), &struct{}{}); status != http.StatusOK {
				t.Errorf("the holder is answered %d", status)
			}
		}
		if before {
			complete()
		}
		signal(syscall.SIGCONT)
		tell("when it is lost")
		says("lost true")
		id = enqueue(round + 1)
		says(fmt.Sprintf("began %s 1", id)) // it was answered, and goes on
		if now := counts(); now.Stale == was.Stale || !before && (now.Completed != was.Completed || now.Leased != 2) {
			t.Errorf("a worker has done what another holds: %+v, before %+v", now.Counts, was.Counts)
		}
		if !before {
			complete()
		}
		if now := counts(); now.Completed != was.Completed+1 || now.Leased != 1 || now.Expired == was.Expired {
			t.Errorf("in the end: %+v, before %+v", now.Counts, was.Counts)
		}
	}
	tell("done")
	y.until("its job is completed", func() bool { return counts().Completed == 3 })
	id = enqueue(9)
	says(fmt.Sprintf("began %s 1", id))
	if err := in.Close(); err != nil { // the last one
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("%q %v", rest, err)
	}
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	if now := counts(); now.Completed != 4 || now.Ready+now.Leased+now.Delayed != 0 {
		t.Errorf("%+v", now.Counts)
	}
	p.stop()
	p.wait()
}
