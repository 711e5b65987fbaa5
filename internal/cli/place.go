package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/socket"
)

// placeFlags say which store is meant, and which configuration goes with it.
type placeFlags struct {
	projectFlags
	store  string
	paths  []string
	server serverFlags
}

// serverFlags say which process elsewhere is asked, and who asks.
type serverFlags struct {
	url, tokenFile, ca, certificate, key string
}

func (f *serverFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "server", "", "ask the control port of a process elsewhere, at this `URL` (https://host:9090)")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "`file` with the token that --server wants (default: PENSTOCK_TOKEN of the environment)")
	cmd.Flags().StringVar(&f.ca, "server-ca", "", "`file` with the authorities (PEM) that --server's certificate must come from")
	cmd.Flags().StringVar(&f.certificate, "client-certificate", "", "`file` with our certificate (PEM), for --server; with --client-key")
	cmd.Flags().StringVar(&f.key, "client-key", "", "`file` with the private key (PEM) of --client-certificate")
}

// remote reads what the flags name.
func (f *serverFlags) remote(getenv func(string) string) (r socket.Remote, err error) {
	if f.url == "" {
		if f.tokenFile != "" || f.ca != "" || f.certificate != "" || f.key != "" {
			return r, usagef("name the process with --server", "--token-file, --server-ca, --client-certificate and --client-key say how --server is asked")
		}
		return r, nil
	}
	r.URL = f.url
	if r.Token = getenv("PENSTOCK_TOKEN"); f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return r, unread("--token-file", err)
		}
		r.Token = strings.TrimSpace(string(text))
	}
	if f.ca == "" && f.certificate == "" && f.key == "" {
		return r, nil
	}
	r.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return r, unread("--server-ca", err)
		}
		r.TLS.RootCAs = x509.NewCertPool()
		if !r.TLS.RootCAs.AppendCertsFromPEM(text) {
			return r, usagef("it is PEM", "there is no certificate in %s", f.ca)
		}
	}
	if (f.certificate == "") != (f.key == "") {
		return r, usagef("give both", "--client-certificate and --client-key belong to each other, and one of them is missing")
	}
	if f.certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
		if err != nil {
			return r, usagef("both are PEM, and belong to each other", "--client-certificate and --client-key: %v", err)
		}
		r.TLS.Certificates = []tls.Certificate{pair}
	}
	return r, nil
}

// unread says that the file of a flag can't be read.
func unread(flag string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return usagef("look at the path", "%s %s can't be read: %v", flag, path.Path, path.Err)
	}
	return err
}

func (f *placeFlags) add(cmd *cobra.Command, p *Program) {
	f.projectFlags.add(cmd, p)
	cmd.Flags().StringVar(&f.store, "store", "", "path of the store's `file` (default: the Integration's, or .penstock/store.db)")
	cmd.Flags().StringArrayVarP(&f.paths, "file", "f", nil, "`path` of a file or folder of the configuration (default: the current folder); may be given many times")
	f.server.add(cmd)
	_ = cmd.MarkFlagFilename("store", "db")         // fails only for a flag that is not there
	_ = cmd.MarkFlagFilename("file", "yaml", "yml") // the same
}

func (f *placeFlags) place(getenv func(string) string) (control.Place, error) {
	pr, err := f.project(f.paths)
	if err != nil {
		return control.Place{}, err
	}
	server, err := f.server.remote(getenv)
	if err == nil && server.URL != "" && f.store != "" {
		err = usagef("leave one of them out", "--server names a process, and --store a file")
	}
	return control.Place{Store: f.store, Project: pr, Server: server}, err
}

// flows completes the names of flows.
func (f *placeFlags) flows(p *Program) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return p.Service.Names(control.Project{Paths: f.paths}).Flows, cobra.ShellCompDirectiveNoFileComp
	}
}

// operate opens the operations of a place, does something with them, and closes them.
func (p *Program) operate(cmd *cobra.Command, f *placeFlags, do func(ctx context.Context, ops *operate.Operations) error) error {
	at, err := f.place(p.Getenv)
	if err != nil {
		return err
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	ops, err := p.Service.Operate(ctx, at)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, ops), ops.Close())
}

// interruptible makes a context that ends with an interrupt.
func (p *Program) interruptible(parent context.Context) (context.Context, func()) {
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithCancelCause(parent)
	signals, release := p.Signals()
	quit := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(control.ErrInterrupted)
		case <-quit:
		}
	}()
	return ctx, func() {
		release()
		close(quit)
		cancel(nil)
	}
}

// group makes a command of the commands below it. Alone it is a wrong command line.
func (p *Program) group(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(below...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, c := range below {
			names = append(names, c.Name())
		}
		if len(args) == 0 {
			return usagef("see "+cmd.CommandPath()+" --help", "%s wants one of %s", cmd.CommandPath(), strings.Join(names, ", "))
		}
		hint := "there are " + strings.Join(names, ", ")
		if near := control.Nearest(args[0], names); near != "" {
			hint = "did you mean " + cmd.CommandPath() + " " + near + "?"
		}
		return usagef(hint, "%s has no command called %q", cmd.CommandPath(), args[0])
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args lets nothing through
	return cmd
}

// exactlyOne wants one argument.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("see "+cmd.CommandPath()+" --help", "%s wants %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

// atMostOne wants one argument or none.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("see "+cmd.CommandPath()+" --help", "%s wants at most %s, and here is also %q", cmd.CommandPath(), what, args[1])
		}
		return nil
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// size writes a number of bytes: 812 B, 3.4 MiB.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	unit := ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f /= 1024; f < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// stamp writes a time of day with its date.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// ago writes an age, where there is one.
func ago(seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	if seconds >= 48*3600 {
		return fmt.Sprintf("%dd", int(seconds/86400))
	}
	return elapsed(seconds)
}

// transient shows a line that is written over by the next one, on a terminal; elsewhere nothing.
func (p *Program) transient() (show func(format string, args ...any), done func()) {
	if p.asJSON || !isTerminal(p.Stderr) || p.Getenv("TERM") == "dumb" {
		return func(string, ...any) {}, func() {}
	}
	scr := &screen{w: p.Stderr}
	return func(format string, args ...any) {
		width, _ := terminalSize(p.Stderr)
		scr.show([]string{clip(fmt.Sprintf(format, args...), width-1)})
	}, func() { scr.show(nil) }
}
