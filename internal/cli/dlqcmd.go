package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) dlqCommand() *cobra.Command {
	return p.group(&cobra.Command{
		Use:   "dlq",
		Short: "Look into dead letters, try them, redrive or drop them",
		Long: `Messages that failed for good wait in the store, with the reason: the dead letters of flow
orders are the channel orders.dead. These commands ask the process that runs on the store,
or open the store themselves; they do the same either way.

  penstock dlq ls                     what went wrong, by step, error and path
  penstock dlq show orders.dead@17    one of them
  penstock dlq try                    how many would pass now
  penstock dlq redrive orders         give them to the flow again
  penstock dlq drop orders            give them up
  penstock dlq export                 as JSON lines`,
	}, p.dlqListCommand(), p.dlqShowCommand(), p.dlqTryCommand(), p.dlqActCommand(operate.Redrive), p.dlqActCommand(operate.Drop), p.dlqExportCommand())
}

// selectFlags choose dead letters.
type selectFlags struct {
	ids   []string
	where string
	limit int
}

func (f *selectFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.ids, "id", nil, "only the dead letter of this `id`; may be given many times")
	cmd.Flags().StringVar(&f.where, "where", "", "only those for which this `condition` holds: CEL over body, meta, key, and error (code, message, step, path, time)")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "only the oldest `n` of them (default: all)")
}

func (f *selectFlags) selection(flow string) (operate.Selection, error) {
	s := operate.Selection{Flow: flow, IDs: f.ids, Where: f.where, Limit: f.limit}
	if f.limit < 0 {
		return s, usagef("write it as --limit 100", "--limit is below zero")
	}
	if flow == "" && len(f.ids) > 0 {
		s.Flow, _, _ = strings.Cut(f.ids[0], ".dead@")
	}
	return s, nil
}

func (p *Program) dlqListCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:     "ls [flow]",
		Short:   "Count dead letters by what went wrong",
		Long:    "Counts the open dead letters of a flow, or of all, by step, error and path. Messages that differ only in figures,\nor in what stands in quotes, count as one kind.",
		Example: "  penstock dlq ls\n  penstock dlq ls orders -o json",
		Args:    atMostOne("one flow"),
	}
	f.add(cmd, p)
	cmd.ValidArgsFunction = f.flows(p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			c, err := ops.Dead.Clusters(ctx, first(args))
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, c)
			}
			return p.showClusters(first(args), c)
		})
	}
	return cmd
}

func (p *Program) showClusters(flow string, c *operate.Clusters) error {
	col := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	if c.Count == 0 {
		what := "there are no open dead letters"
		if flow != "" {
			what += " of flow " + flow
		}
		_, err := fmt.Fprintln(p.Stdout, what)
		return err
	}
	writeClusters(&b, col, c.Clusters)
	like := c.Clusters[0].Example
	fmt.Fprintf(&b, "\n%s %s\n", plural(int(c.Count), "dead letter", "dead letters"), col.dim("(penstock dlq show "+like+" shows one, penstock dlq try how many would pass now)"))
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}

// writeClusters writes a paragraph for each cluster.
func writeClusters(b *strings.Builder, col styles, clusters []operate.Cluster) {
	for i, cl := range clusters {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%s %s\n", col.yellow(count(cl.Count)+" ×"), firstLine(cl.Message))
		where := cl.Flow
		if cl.Step != "" {
			where += ", step " + cl.Step
		}
		if cl.Code != "" {
			where += ", " + string(cl.Code)
		}
		if cl.Path != "" {
			where += " at " + visible(cl.Path)
		}
		span := stamp(cl.Oldest)
		if !cl.Newest.Equal(cl.Oldest) {
			span += " to " + stamp(cl.Newest)
		}
		fmt.Fprintf(b, "  %s\n  %s\n", where, col.dim(span+", as "+cl.Example))
	}
}

func (p *Program) dlqShowCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one dead letter: why it died, and what it says",
		Example: "  penstock dlq show orders.dead@17",
		Args:    exactlyOne("the id of a dead letter, as penstock dlq ls shows them"),
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			d, err := ops.Dead.Show(ctx, args[0])
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, d)
			}
			return p.showLetter(d)
		})
	}
	return cmd
}

func (p *Program) showLetter(d *operate.DeadLetter) error {
	col := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	title := d.ID
	if !d.Open {
		title += " (redriven or dropped)"
	}
	b.WriteString(col.bold(title) + "\n")
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name, strings.ReplaceAll(visible(value), "\n", "\n            "))
		}
	}
	r := &d.Reason
	if r.Message != "" {
		fmt.Fprintf(&b, "  %-9s %s\n", "error", col.red(strings.ReplaceAll(visible(r.Message), "\n", "\n            ")))
	}
	field("code", string(r.Code))
	field("step", r.Step)
	field("path", r.Path)
	if r.Attempts > 1 {
		field("attempts", count(r.Attempts))
	}
	if r.Redriven > 0 {
		field("redriven", plural(int(r.Redriven), "time", "times"))
	}
	field("from", r.Origin)
	field("died", r.Time)
	field("goes on", goesOn(r.Entry))
	field("key", d.Key)
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(d.Meta, &meta); err == nil {
		dec := json.NewDecoder(bytes.NewReader(d.Meta)) // in their order
		for _, name := range names(dec) {
			if name != "dead" {
				field("meta."+name, string(meta[name]))
			}
		}
	}
	what := "body"
	if d.Encoding != "" {
		what += " (" + d.Encoding + ")"
	}
	b.WriteString(col.bold(what) + "\n")
	var text bytes.Buffer
	if json.Indent(&text, d.Body, "  ", "  ") != nil {
		text.Reset()
		text.Write(d.Body)
	}
	fmt.Fprintf(&b, "  %s\n", visible(text.String()))
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}

// goesOn says where a message is given in again.
func goesOn(entry string) string {
	kind, step, ok := strings.Cut(entry, " ")
	if !ok {
		return "at the source"
	}
	return kind + " step " + step
}

// names lists the names of an object in their order.
func names(dec *json.Decoder) []string {
	var out []string
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return out
		}
		s, _ := name.(string)
		out = append(out, s)
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return out
		}
	}
	return out
}

func (p *Program) dlqExportCommand() *cobra.Command {
	f, sel := &placeFlags{}, &selectFlags{}
	var to string
	cmd := &cobra.Command{
		Use:   "export [flow]",
		Short: "Write dead letters as JSON lines",
		Long: `Writes the open dead letters of a flow, or of all: one JSON object a line, with id, body,
encoding (text or base64, where the body is not JSON), key and meta, which has the reason
as meta.dead. They stay where they are.`,
		Example: "  penstock dlq export orders --to dead.jsonl\n  penstock dlq export --where 'error.step == \"check\"' | jq .body",
		Args:    atMostOne("one flow"),
	}
	f.add(cmd, p)
	sel.add(cmd)
	cmd.ValidArgsFunction = f.flows(p)
	cmd.Flags().StringVar(&to, "to", "", "`file` that is written (default: standard output)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			s, err := sel.selection(first(args))
			if err != nil {
				return err
			}
			n := 0
			write := func(w io.Writer) error {
				enc := json.NewEncoder(w)
				enc.SetEscapeHTML(false)
				return ops.Dead.Each(ctx, s, func(d *operate.DeadLetter) error {
					n++
					return enc.Encode(d)
				})
			}
			if to == "" || to == "-" {
				return write(p.Stdout)
			}
			if err := writeFile(to, write); err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.Stdout, "%s written to %s\n", plural(n, "dead letter", "dead letters"), to)
			return err
		})
	}
	return cmd
}

// writeFile writes a file whole or not at all, for its owner only.
func writeFile(path string, write func(io.Writer) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fileError("write", path, err)
	}
	err = write(tmp)
	failed := err != nil
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is the first error that counts
		if failed {
			return err
		}
		return fileError("write", path, err)
	}
	return nil
}
