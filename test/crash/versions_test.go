package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// Migrations that later versions of the program may have.
const (
	lastMigration = "`ALTER TABLE writer ADD COLUMN version int NOT NULL DEFAULT 1`, // of the program\n}}"
	adding        = ", {least: 1, statements: []string{`ALTER TABLE segment ADD COLUMN more text`, `CREATE TABLE extra (x int)`}}"
	taking        = ", {least: Version + 2, statements: []string{`DROP TABLE extra`}}"
)

// later builds the program as it may be some versions from now: with more migrations of the tables.
func later(t *testing.T, migrations string) string {
	t.Helper()
	dir := t.TempDir()
	own, err := filepath.Abs("../../internal/store/postgres/schema.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), lastMigration); n != 1 {
		t.Fatalf("%s has %d times what is the last migration here: %s", own, n, lastMigration)
	}
	edited, list, path := filepath.Join(dir, "schema.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "penstock")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {own: edited}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, edited, strings.Replace(string(text), lastMigration, lastMigration+migrations, 1))
	writeFile(t, list, string(replace))
	args := []string{"build", "-o", path, "-overlay", list}
	if mutation.Enabled {
		args = append(args, "-tags", "penstock_mutate")
	}
	if out, err := exec.Command("go", append(args, "../../cmd/penstock")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestReplicasOfTwoVersions: replicas of the program as it is, and as it may be one and two versions from now, on one store. The next version adds to the tables while older replicas work, and they
// share the work. The one after that takes something away: it is refused while an older one is connected, and leaves the tables as they were; an older one that is cut off
// does not hold it up, writes nothing when it wakes up, and ends with what to do; and so does an older one that begins then. Nothing is lost on the way.
func TestReplicasOfTwoVersions(t *testing.T) {
	adds, takes := later(t, adding), later(t, adding+taking)
	const older = postgres.Version
	r := newReplicated(t, service.NewPostgres(t).URI("postgres"), "2s", 2)
	binary := map[*peer]string{}
	as := r.command
	r.command = func(p *peer) *exec.Cmd {
		cmd := as(p)
		if other := binary[p]; other != "" {
			cmd.Path, cmd.Args[0] = other, other
		}
		return cmd
	}
	c, err := pgx.Connect(t.Context(), r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	version := func() (n int) {
		t.Helper()
		if err := c.QueryRow(t.Context(), "SELECT value FROM penstock.meta WHERE name = 'version'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	db := r.open()
	r.until("somebody drives", func() bool { p, _ := r.drives(db); return p != nil })
	r.more(20)

	first, second := r.peers[0], r.peers[1]
	first.stop()
	first.wait()
	binary[first] = adds
	r.begin(first)
	r.until("the next version has added to the tables", func() bool { return version() == older+1 })
	for _, one := range []*peer{second, first} { // the older one goes away, and begins on the newer tables; then the newer one
		one.stop()
		one.wait()
		r.until("the other drives", func() bool { p, _ := r.drives(db); return p != nil && p != one })
		r.more(20)
		r.begin(one)
		other := map[*peer]*peer{first: second, second: first}[one]
		r.until("both have parts", func() bool { return r.owns(c, one) > 0 && r.owns(c, other) > 0 })
		r.more(20)
	}
	if err := db.Close(); err != nil { // it is of the older version, too
		t.Fatal(err)
	}

	third := &peer{at: ports(t, 1)[0]}
	binary[third] = takes
	refused := func(words ...string) {
		t.Helper()
		r.begin(third)
		r.until("it is refused", func() bool { return ended(third) })
		for _, w := range append(words, "older programs work with the tables", "stop them first") {
			if said := third.said.String(); third.err == nil || !strings.Contains(said, w) {
				t.Errorf("it does not say %q:\n%s", w, said)
			}
		}
		if n := version(); n != older+1 {
			t.Fatalf("the tables are of version %d", n)
		}
	}
	refused(fmt.Sprintf("one of version %d (", older), fmt.Sprintf("one of version %d (", older+1))
	r.more(20) // the others go on

	if err := second.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	first.stop()
	first.wait()
	// Had it been in the middle of a transaction, the server would have ended its connection by now; otherwise that is there, and is cut.
	if _, err := c.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock%' AND pid <> pg_backend_pid()"); err != nil { // as the network would
		t.Fatal(err)
	}
	r.until("the server has ended what was cut off", func() bool {
		var n int
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'penstock%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	binary[first] = takes
	r.begin(first)
	r.until("the tables are those of the newest version", func() bool { return version() == older+2 })
	r.more(2) // half of the requests go to the one that sleeps, which takes its time
	outdated := fmt.Sprintf("this program is too old: the tables are of version %d, which programs from version %d on can work with, and this one is of version %d", older+2, older+2, older)
	ends := func(what string) {
		t.Helper()
		r.until(what, func() bool { return ended(second) })
		if said := second.said.String(); second.err == nil || !strings.Contains(said, outdated) {
			t.Errorf("%s, and says:\n%s", what, said)
		}
	}
	if err := second.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	ends("the older one that woke up ends")
	r.begin(second)
	ends("an older one that begins ends")
	r.more(20)
	r.finish()
	first.stop()
	first.wait()
	// This test is of the older version, and what was taken away is nothing that it needs.
	if _, err := c.Exec(t.Context(), "UPDATE penstock.meta SET value = 1 WHERE name = 'least'"); err != nil {
		t.Fatal(err)
	}
	r.check()
}

// ended says that a replica's process has.
func ended(p *peer) bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// owns is how many parts a replica has.
func (r *replicated) owns(c *pgx.Conn, p *peer) (n int) {
	r.t.Helper()
	if err := c.QueryRow(r.t.Context(), `SELECT count(*) FROM penstock.part JOIN penstock.replica ON id = owner WHERE expires_at > clock_timestamp() AND (data::json ->> 'pid')::int = $1`, p.cmd.Process.Pid).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}
