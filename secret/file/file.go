// Package file reads secrets from the lines of a file such as .env.
package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/secret/internal/files"
)

// Config is the configuration of the provider.
type Config struct {
	// The file, of lines NAME=value. The secret db-password is the name itself, or the one name that is the same but for capital
	// letters, and points and underscores in place of hyphens: DB_PASSWORD.
	Path penstock.Template `json:"path" penstock:"required"`
	// How often to look for new values, beside being told by the operating system, which network file systems do not do.
	Every penstock.Duration `json:"every" penstock:"default=10s,min=100ms"`
}

// Register adds the provider.
func Register(r *penstock.Registry) {
	penstock.RegisterSecrets(r, penstock.Spec{
		Name:    "file",
		Summary: "Secrets in a file of NAME=value lines, such as .env. New values are taken up while the program runs.",
	}, New)
}

// New makes the provider.
func New(c Config, env penstock.Env) (penstock.SecretProvider, error) {
	path, err := files.Path(c.Path, env)
	if err != nil {
		return nil, err
	}
	return &provider{path: path, every: c.Every.Std(), clock: env.Clock, log: env.Logger}, nil
}

type provider struct {
	path  string
	every time.Duration
	clock penstock.Clock
	log   *slog.Logger

	warned sync.Once
}

var (
	errWantsName   = errors.New("NAME=value is wanted")
	errOpenQuote   = errors.New("a quote is never closed")
	errBehindQuote = errors.New("something stands behind the closing quote")
	errEscape      = errors.New(`an unknown escape: \n, \r, \t, \", \\ and \$ are known; single quotes take everything as it stands`)
)

// tries is how often a file that is being changed is read again.
const tries = 5

// Read implements penstock.SecretProvider. All values are of one version of the file.
func (p *provider) Read(ctx context.Context, names []string) (map[string]penstock.SecretReading, error) {
	var text string
	var err error
	for try := 1; ; try++ {
		text, err = files.Read(p.path)
		if !errors.Is(err, files.ErrChanged) || try == tries {
			break
		}
		timer, stop := p.clock.NewTimer(10 * time.Millisecond)
		select {
		case <-timer:
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, files.Unreadable(p.path, err)
	}
	p.permissions()
	values, err := parse(text)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "secrets", Path: p.path, Err: err}
	}
	out := map[string]penstock.SecretReading{}
	for _, name := range names {
		found := matches(values, name)
		switch {
		case len(found) == 0:
		case len(found) > 1:
			out[name] = penstock.SecretReading{Err: &penstock.Error{Code: penstock.Config, Path: p.path, Err: fmt.Errorf("both %s and %s could be meant", found[0], found[1]),
				Hint: "rename one of them"}}
		case values[found[0]] == "":
			out[name] = penstock.SecretReading{Err: penstock.E(penstock.Config, "", p.path, found[0]+" is empty")}
		default:
			out[name] = penstock.SecretReading{Value: values[found[0]]}
		}
	}
	return out, nil
}

// permissions warns of a file that others can read.
func (p *provider) permissions() {
	info, err := os.Stat(p.path)
	if err != nil || info.Mode().Perm()&0o077 == 0 || p.log == nil {
		return
	}
	p.warned.Do(func() {
		p.log.Warn("the file of secrets can be read by others; chmod 600 it", "path", p.path, "mode", info.Mode().Perm().String())
	})
}

// plain makes a name of the file what a secret may be called.
var plain = strings.NewReplacer(".", "-", "_", "-")

// matches lists the names that may be meant; exactly this name is the only one then.
func matches(values map[string]string, name string) []string {
	if _, ok := values[name]; ok {
		return []string{name}
	}
	var out []string
	for n := range values {
		if plain.Replace(strings.ToLower(n)) == name {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Watch implements penstock.SecretProvider.
func (p *provider) Watch(ctx context.Context, changed func()) error {
	return files.Watch(ctx, files.Options{Folder: filepath.Dir(p.path), Name: filepath.Base(p.path), Stamp: p.stamp, Every: p.every, Clock: p.clock}, changed)
}

func (p *provider) stamp() string {
	info, err := os.Stat(p.path)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano(), info.Mode())
}

// Where implements penstock.SecretProvider.
func (p *provider) Where(name string) string {
	return "the line " + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "=… of the file " + p.path
}

// Close implements penstock.SecretProvider.
func (*provider) Close() error { return nil }
