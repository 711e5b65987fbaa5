package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) tapCommand() *cobra.Command {
	f := &placeFlags{}
	var q operate.TapQuery
	cmd := &cobra.Command{
		Use:   "tap FLOW[/STEP]",
		Short: "Show messages as they go through a flow",
		Long: `Shows the messages of a running flow: those that come in, and how each ends; or, with a
step, those that come to it. Values that a schema labels (x-class) are hidden, wherever a
field of that name stands. The flow is not held up: at most --rate messages a second are
shown, and how many were not is said.

It ends with an interrupt, or with the process.`,
		Example: "  penstock tap orders\n  penstock tap orders/country --max 5\n  penstock tap orders -o json | jq .body",
		Args:    exactlyOne("a flow, or a flow and a step: orders/country"),
	}
	f.add(cmd, p)
	cmd.Flags().IntVar(&q.Rate, "rate", 10, "how many messages a second are shown at most")
	cmd.Flags().IntVar(&q.Max, "max", 0, "end after this many messages (default: go on)")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.ValidArgsFunction = f.flows(p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		q.Flow, q.Step, _ = strings.Cut(args[0], "/")
		if q.Rate <= 0 || q.Max < 0 {
			return usagef("write it as --rate 10 --max 5", "--rate is above zero, and --max not below")
		}
		err := p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			return ops.Live.Tap(ctx, q, func(g *operate.Glimpse) error {
				if p.asJSON {
					writeJSONLine(p.Stdout, g)
					return nil
				}
				return p.showGlimpse(g)
			})
		})
		if errors.Is(err, control.ErrInterrupted) {
			return nil // that is how one ends it
		}
		return err
	}
	return cmd
}

// showGlimpse writes a message: when, what happens, which, its body; its headers below.
func (p *Program) showGlimpse(g *operate.Glimpse) error {
	c := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	if g.Skipped > 0 {
		b.WriteString(c.dim(fmt.Sprintf("… %s not shown", plural(int(g.Skipped), "message was", "messages were"))) + "\n")
	}
	what := g.What
	switch what {
	case "in":
		what = c.dim("→ " + g.Step)
	case "dead", "refused", "lost":
		what = c.red(what)
	case "done":
		what = c.green(what)
	default:
		what = c.yellow(what)
	}
	fmt.Fprintf(&b, "%s %s %s", c.dim(g.Time.Format("15:04:05.000")), what, c.bold(visible(g.ID)))
	if g.Key != "" {
		fmt.Fprintf(&b, " key %s", visible(g.Key))
	}
	b.WriteString("\n    " + visible(string(g.Body)) + "\n")
	if m := string(g.Meta); m != "" && m != "{}" {
		b.WriteString("    " + c.dim("meta "+visible(m)) + "\n")
	}
	if g.Error != "" {
		b.WriteString("    " + c.red(visible(g.Error)) + "\n")
	}
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}

func (p *Program) sendCommand() *cobra.Command {
	f := &placeFlags{}
	var channel, key, data, file string
	var meta []string
	var each bool
	cmd := &cobra.Command{
		Use:   "send [FLOW]",
		Short: "Give a message to a flow or a channel",
		Long: `Gives one JSON document to a running flow, or with --channel to a channel of the store, where
it is durable when the command ends. A flow that is called (from: http) answers, and the
answer is shown; a flow that reads a channel gets it through that; another one that keeps
state gets it in front of its first step. Without --data and --body it is read from standard
input; with --each every line there is a message.`,
		Example: "  penstock send hello --data '{\"name\": \"you\"}'\n  penstock send --channel orders --key o-17 --body order.json\n  penstock send orders --each < orders.jsonl",
		Args:    atMostOne("one flow"),
	}
	f.add(cmd, p)
	cmd.Flags().StringVar(&channel, "channel", "", "give it to the channel of this `name`, in place of a flow")
	cmd.Flags().StringVar(&key, "key", "", "the message's key")
	cmd.Flags().StringArrayVar(&meta, "meta", nil, "a header, as `name=value`; may be given many times")
	cmd.Flags().StringVar(&data, "data", "", "the body, a JSON `document`")
	cmd.Flags().StringVar(&file, "body", "", "a `file` that holds the body")
	cmd.Flags().BoolVar(&each, "each", false, "every line of standard input is a message")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.ValidArgsFunction = f.flows(p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		s := operate.Sending{Flow: first(args), Channel: channel, Key: key, Meta: map[string]json.RawMessage{}}
		switch {
		case (s.Flow == "") == (s.Channel == ""):
			return usagef("penstock send orders, or penstock send --channel orders", "name a flow, or a channel with --channel")
		case data != "" && file != "" || each && (data != "" || file != ""):
			return usagef("leave all but one out", "the body comes from --data, --body or standard input")
		}
		for _, m := range meta {
			name, value, ok := strings.Cut(m, "=")
			if !ok || name == "" {
				return usagef("write it as --meta name=value", "--meta %q is no header", m)
			}
			text, err := json.Marshal(value)
			if err != nil {
				return err
			}
			s.Meta[strings.ToLower(name)] = text
		}
		bodies, err := p.bodies(data, file, each)
		if err != nil {
			return err
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			for body := range bodies {
				if body.err != nil {
					return body.err
				}
				s.Body = body.text
				sent, err := ops.Live.Send(ctx, s)
				if err != nil {
					return err
				}
				if err := p.showSent(sent); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// body is one document to send.
type body struct {
	text []byte
	err  error
}

// bodies gives the documents to send, one after the other.
func (p *Program) bodies(data, file string, each bool) (func(func(body) bool), error) {
	one := func(text []byte, from string) (func(func(body) bool), error) {
		if !json.Valid(text) {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "send", Path: from, Err: errors.New("it is no JSON document"), Hint: `text is written with quotes: --data '"text"'`}
		}
		return func(yield func(body) bool) { yield(body{text: text}) }, nil
	}
	switch {
	case data != "":
		return one([]byte(data), "--data")
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return one(text, file)
	case !each:
		text, err := io.ReadAll(p.Stdin)
		if err != nil {
			return nil, err
		}
		return one(text, "standard input")
	}
	return func(yield func(body) bool) {
		lines := bufio.NewScanner(p.Stdin)
		lines.Buffer(nil, 64<<20)
		for n := 1; lines.Scan(); n++ {
			text := bytes.TrimSpace(lines.Bytes())
			if len(text) == 0 {
				continue
			}
			b := body{text: bytes.Clone(text)}
			if !json.Valid(text) {
				b.err = &penstock.Error{Code: penstock.Invalid, Op: "send", Path: fmt.Sprintf("line %d", n), Err: errors.New("it is no JSON document"), Hint: "those before it were sent"}
			}
			if !yield(b) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(body{err: err})
		}
	}, nil
}

func (p *Program) showSent(s *operate.Sent) error {
	var err error
	switch {
	case p.asJSON:
		writeJSONLine(p.Stdout, s)
	case s.Reply != nil:
		_, err = fmt.Fprintln(p.Stdout, string(s.Reply))
	case s.Answered:
		_, err = fmt.Fprintf(p.Stdout, "%s has taken it, and answered nothing\n", s.To)
	default:
		_, err = fmt.Fprintf(p.Stdout, "%s@%d\n", s.To, s.Position)
	}
	return err
}
