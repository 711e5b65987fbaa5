// Command services starts the services that tests use, on free ports of the loopback interface, prints Connections to paste into a flow, and keeps them up until it is
// interrupted. Their data goes with them.
//
//	go run ./test/services              # all that are installed
//	go run ./test/services redis nats   # these
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"penstock.dev/penstock/test/service"
	"penstock.dev/penstock/test/services/host"
)

// kind is a service that can be started.
type kind struct {
	name string
	what string
	// start starts it, and gives what stands under `spec` of the Connections to it, by their names.
	start func(tb testing.TB) map[string]string
}

// kinds are all of them, by the names of install.sh. Those that take long to start are first.
var kinds = []kind{
	{"pulsar", "Pulsar", func(tb testing.TB) map[string]string {
		s := service.NewPulsar(tb)
		return map[string]string{"pulsar": fmt.Sprintf("{ pulsar: { url: %q, adminUrl: %q } }", s.URL(), s.AdminURL())}
	}},
	{"kafka", "Kafka", func(tb testing.TB) map[string]string {
		s := service.NewKafka(tb)
		return map[string]string{"kafka": fmt.Sprintf("{ kafka: { brokers: [%q] } }", s.Brokers())}
	}},
	{"rabbitmq", "RabbitMQ", func(tb testing.TB) map[string]string {
		s := service.NewRabbitMQ(tb)
		return map[string]string{"rabbitmq": fmt.Sprintf("{ rabbitmq: { url: %q } }", s.URL())}
	}},
	{"mariadb", "MariaDB (user root)", func(tb testing.TB) map[string]string {
		s := service.NewMariaDB(tb)
		return map[string]string{"mariadb": fmt.Sprintf("{ sql: { driver: mysql, host: 127.0.0.1, port: %d, database: %s, user: root } }", s.Port(), s.Database(tb))}
	}},
	{"postgres", "PostgreSQL (user postgres; wal_level is logical)", func(tb testing.TB) map[string]string {
		s := service.NewPostgres(tb, "wal_level=logical", "max_replication_slots=30", "max_wal_senders=30")
		return map[string]string{"postgres": fmt.Sprintf("{ sql: { driver: postgres, url: %q } }", s.URI("postgres"))}
	}},
	{"mosquitto", "Mosquitto (MQTT)", func(tb testing.TB) map[string]string {
		s := service.NewMosquitto(tb)
		return map[string]string{"mqtt": fmt.Sprintf("{ mqtt: { url: %q } }", "mqtt://"+s.Address())}
	}},
	{"nats", "NATS (with JetStream)", func(tb testing.TB) map[string]string {
		s := service.NewNATS(tb, service.NATSOptions{})
		return map[string]string{"nats": fmt.Sprintf("{ nats: { urls: [%q] } }", s.URL())}
	}},
	{"redis", "Redis", func(tb testing.TB) map[string]string {
		s := service.NewRedis(tb)
		return map[string]string{"redis": fmt.Sprintf("{ redis: { url: %q } }", s.URL())}
	}},
	{"registry", "a schema registry (our own, in this process)", func(tb testing.TB) map[string]string {
		s := service.NewRegistry(tb)
		return map[string]string{"registry": fmt.Sprintf("{ schemaRegistry: { url: %q } }", s.URL)}
	}},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}

// run starts services, says what is up, and stops them when ctx ends.
func run(ctx context.Context, out io.Writer, names []string) error {
	var wanted []kind
	for _, n := range names {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == n })
		if i < 0 {
			return fmt.Errorf("no service is called %s; there are %s", n, strings.Join(all(), ", "))
		}
		wanted = append(wanted, kinds[i])
	}
	if len(names) == 0 {
		wanted = kinds
	}
	say := printer{out: out}
	var up sync.WaitGroup
	hosts := make([]*host.Host, len(wanted))
	said := make([]map[string]string, len(wanted))
	for i, k := range wanted {
		hosts[i] = host.New(k.name)
		up.Go(func() {
			hosts[i].Run(func(tb testing.TB) { said[i] = k.start(tb) })
		})
	}
	up.Wait()
	running := 0
	for i, k := range wanted {
		if why := hosts[i].Why(); why != "" {
			say.line("# %s is not up: %s", k.what, strings.ReplaceAll(why, "\n", "\n#   "))
			continue
		}
		running++
	}
	for i, k := range wanted {
		for _, name := range slices.Sorted(keys(said[i])) {
			say.line("---\n# %s\napiVersion: penstock.dev/v1alpha1\nkind: Connection\nmetadata: { name: %s }\nspec: %s", k.what, name, said[i][name])
		}
	}
	if running > 0 && ctx.Err() == nil {
		say.line("\n# %d up; Ctrl-C stops them, and their data goes with them", running)
		<-ctx.Done()
	}
	var down sync.WaitGroup
	for _, h := range hosts {
		down.Go(h.End)
	}
	down.Wait()
	for i, k := range wanted {
		if wrong := hosts[i].Errors(); wrong != "" {
			say.line("# %s: %s", k.what, wrong)
		}
	}
	if running == 0 {
		return fmt.Errorf("none is up: test/service/install.sh installs them")
	}
	return say.err
}

func all() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// printer remembers the first error of its writer.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format+"\n", args...); p.err == nil {
		p.err = err
	}
}
