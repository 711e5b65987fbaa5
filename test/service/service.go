// Package service starts the real services that tests need: servers from the machine's packages, on free ports of the loopback
// interface, with their data in temporary folders. A test that asks for one that is not installed is skipped, and says how to
// install it; `make test` installs what it can.
//
// One instance serves all tests of a package that don't want one of their own. It ends with the test process, however that
// ends: it is watched over by a shell that waits on a pipe which only the test process holds open.
//
// To add a service: name its program and package in install.sh, find the program with find, start it with start, and wait with
// ready until it answers.
package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a service may take to start or stop on a busy machine.
const patience = 60 * time.Second

// find gives the path of a program: the last that the patterns match, or one in PATH. The test is skipped if there is none; name is
// what install.sh calls the service.
func find(tb testing.TB, name, program string, patterns ...string) string {
	tb.Helper()
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			tb.Fatal(err)
		}
		slices.SortFunc(found, newerLast)
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		tb.Skipf("%s is not installed (no %s): run test/service/install.sh %s as root", name, program, name)
	}
	return path
}

// newerLast sorts paths with a version in them: …/9.6/bin before …/15/bin.
func newerLast(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// account is who a service runs as: many refuse root. Nil is whoever runs the test.
func account(tb testing.TB, names ...string) *syscall.Credential {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, n := range append(names, "nobody") {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	tb.Skip("the test runs as root, and there is no other user that a service could run as")
	return nil
}

// folder makes a folder for a service's data, which who owns. It is removed by the service's watch.
func folder(tb testing.TB, name string, who *syscall.Credential) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "penstock-"+name+"-")
	if err == nil {
		err = give(dir, who)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

func give(path string, who *syscall.Credential) error {
	if who == nil {
		return nil
	}
	return os.Chown(path, int(who.Uid), int(who.Gid))
}

// freePort is one of FreePorts.
func freePort(tb testing.TB) int {
	tb.Helper()
	return FreePorts(tb, 1)[0]
}

// FreePorts finds n ports in a row of the loopback interface that nobody listens on, and keeps them for this process until it ends: a program that was given one needs a moment until it
// listens there, and again whenever it is restarted, and another test may look for a port just then. They are none of those that connections of other programs
// take for their own end (Linux: 32768 and up), one of which may have it before the program has.
func FreePorts(tb testing.TB, n int) []int {
	tb.Helper()
	kept := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-ports-%d", os.Geteuid()))
	if err := os.MkdirAll(kept, 0o700); err != nil {
		tb.Fatal(err)
	}
	for range 1000 {
		var row []int
		for port := 15000 + rand.IntN(16000); len(row) < n; port++ {
			free, err := freeAndKept(kept, port)
			if err != nil {
				tb.Fatal(err)
			}
			if !free {
				break
			}
			row = append(row, port)
		}
		if len(row) == n {
			return row
		}
	}
	tb.Fatalf("no %d ports in a row are free", n)
	return nil
}

// freeAndKept keeps a port if nobody else does, or listens there.
func freeAndKept(kept string, port int) (bool, error) {
	if free, err := keepPort(filepath.Join(kept, strconv.Itoa(port))); err != nil || !free {
		return false, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false, nil //nolint:nilerr // somebody listens there
	}
	return true, l.Close()
}

// keptPorts are the files whose locks say that a port is this process's. They are open until the process ends, however that is, and the locks end with it.
var keptPorts struct {
	mu    sync.Mutex
	files []*os.File
}

// keepPort takes the lock of a port, whose file is at path; false says that it is another's, or was given out before.
func keepPort(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // the lock is the open file's, so that it holds within a process too
	if err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = nil
		}
		return false, errors.Join(err, f.Close())
	}
	keptPorts.mu.Lock()
	defer keptPorts.mu.Unlock()
	keptPorts.files = append(keptPorts.files, f)
	return true, nil
}

// process is a service that runs.
type process struct {
	cmd  *exec.Cmd // the shell that watches over it
	hold *os.File  // while this is open, it lives
	pid  int       // of the service
	log  string    // the file that it writes to
	gone bool
}

// watch starts the service, says its process id, and waits until the test process has closed its end of the pipe, or has died. Then it ends the
// service and removes its folder, unless it was told to keep it.
const watch = `
signal=$1 folder=$2 log=$3; shift 3
trap '' INT HUP
"$@" >>"$log" 2>&1 </dev/null &
pid=$!
echo $pid
exec >/dev/null
word=$(cat)
kill -s "$signal" $pid 2>/dev/null
wait $pid 2>/dev/null
[ "$word" = keep ] || rm -rf "$folder"
exit 0`

// options say how a service is run.
type options struct {
	who    *syscall.Credential
	dir    string // where it runs and writes its log; it goes with it
	signal string // that ends it: TERM, QUIT
	env    []string
}

// start starts a program.
func start(tb testing.TB, o options, program string, args ...string) *process {
	tb.Helper()
	in, hold, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, said, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{hold: hold, log: filepath.Join(o.dir, "log")}
	// No context: it lives as long as the pipe.
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", watch, "sh", o.signal, o.dir, p.log, program}, args...)...) //nolint:noctx // see above
	p.cmd.Dir, p.cmd.Stdin, p.cmd.Stdout = o.dir, in, said
	p.cmd.Env = append(os.Environ(), o.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: o.who, Setpgid: true} // Ctrl-C is for the test
	err = p.cmd.Start()
	err = errors.Join(err, in.Close(), said.Close())
	if err != nil {
		tb.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		p.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err = errors.Join(err, out.Close()); err != nil {
		tb.Fatalf("%s: %v", program, err)
	}
	return p
}

// alive says that the service has not ended by itself.
func (p *process) alive() bool {
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat"); err == nil {
		return !strings.Contains(string(stat), ") Z ") // the shell waits for it later
	}
	return syscall.Kill(p.pid, 0) == nil
}

// ready waits until ask is answered.
func (p *process) ready(tb testing.TB, ask func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience) // a JVM on a machine that is busy with others
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil && p.alive() {
			return
		}
		if err == nil {
			err = errors.New("it has ended, and what answers in its place is another one")
		}
		if !p.alive() || ctx.Err() != nil {
			tb.Fatalf("the service does not start: %v\n%s", err, p.tail())
		}
		pause(ctx)
	}
}

// pause waits a little for what gives no sign.
func pause(ctx context.Context) {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// tail is the end of the service's log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// stop ends the service and waits for it; keep leaves its folder. It may be called twice.
func (p *process) stop(keep bool) error {
	if p.gone {
		return nil
	}
	p.gone = true
	var err error
	if keep {
		_, err = p.hold.WriteString("keep")
	}
	err = errors.Join(err, p.hold.Close())
	if _, werr := p.cmd.Process.Wait(); werr != nil {
		err = errors.Join(err, werr)
	}
	return err
}
