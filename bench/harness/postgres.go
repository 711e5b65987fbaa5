package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL server with the settings that it comes with: it waits for the disk (fsync).
type Postgres struct {
	Version string // postgres (PostgreSQL) 15.18 …
	folder  string
	port    int
	cmd     *exec.Cmd
	ended   chan error // gives why it has ended
	said    *tail
}

// StartPostgres makes a cluster in a folder of its own below the given one, and starts a server of it on a free port of the loopback interface. The newest
// that is installed is taken. Settings (name=value) are those of postgresql.conf.
func StartPostgres(ctx context.Context, under string, settings ...string) (p *Postgres, err error) {
	p = &Postgres{said: &tail{}, ended: make(chan error, 1)}
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	who, err := unprivileged("postgres", "nobody")
	if err != nil {
		return nil, err
	}
	if p.folder, err = os.MkdirTemp(under, "postgres-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	if who != nil {
		if err := os.Chown(p.folder, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(p.folder, "data")
	program := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...) //nolint:noctx // it is stopped by Stop
		cmd.Dir = p.folder
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true} // Ctrl-C is for the harness
		return cmd
	}
	version, err := program("postgres", "--version").Output()
	if err != nil {
		return nil, err
	}
	p.Version = strings.TrimSpace(string(version))
	if out, err := program("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	args := []string{"-D", data, "-p", strconv.Itoa(p.port), "-k", p.folder, "-c", "listen_addresses=127.0.0.1"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	p.cmd = program("postgres", args...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	for begun := time.Now(); ; {
		if err = p.Exec(ctx, "SELECT 1"); err == nil {
			return p, nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			return nil, fmt.Errorf("PostgreSQL has ended: %w\n%s", err, lastLines(p.said.text()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(begun) > time.Minute {
			return nil, fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
	}
}

// postgresPrograms is the folder that the server's programs are in.
func postgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // fails only for a wrong pattern
	slices.SortFunc(found, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("PostgreSQL is not installed: run test/service/install.sh postgres as root")
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// unprivileged is who runs what refuses root: the first of these users that is there. Nil is whoever runs this.
func unprivileged(names ...string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // see above
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("there is no user to run a server as that refuses root")
}

// URI is the connection URI of the database postgres.
func (p *Postgres) URI() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", p.port)
}

// Exec runs statements, over a connection of their own.
func (p *Postgres) Exec(ctx context.Context, statements ...string) error {
	return p.with(ctx, func(c *pgx.Conn) error {
		for _, s := range statements {
			if _, err := c.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
}

// Text gives the text that is the one row of a query.
func (p *Postgres) Text(ctx context.Context, query string) (text string, err error) {
	err = p.with(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, query).Scan(&text) })
	return text, err
}

func (p *Postgres) with(ctx context.Context, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, p.URI())
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close(ctx))
}

// CPU is what the server's processes that have ended took so far, those of connections among them: it waits until there are no more of these. 0 where
// the system does not tell.
func (p *Postgres) CPU(ctx context.Context) (time.Duration, error) {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	for p.serving(pid) {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return cpuOfEnded(pid), nil
}

// serving says that there are processes of connections, or of some that were not waited for.
func (p *Postgres) serving(pid string) bool {
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return false // the system does not tell
	}
	for child := range strings.FieldsSeq(string(children)) {
		line, err := os.ReadFile("/proc/" + child + "/cmdline")
		if err == nil && (len(line) == 0 || strings.Contains(string(line), " 127.0.0.1(")) { // postgres: user database 127.0.0.1(port) what it does
			return true
		}
	}
	return false
}

// Stop ends the server and removes its files.
func (p *Postgres) Stop() error {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown; it may have ended
		select {
		case err := <-p.ended:
			_ = err // it was told to
		case <-time.After(30 * time.Second):
			_ = p.cmd.Process.Signal(syscall.SIGQUIT)
			return errors.Join(errors.New("PostgreSQL does not stop"), <-p.ended, os.RemoveAll(p.folder))
		}
		p.cmd = nil
	}
	return os.RemoveAll(p.folder)
}
