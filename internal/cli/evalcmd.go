package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

func (p *Program) evalCommand() *cobra.Command {
	var o control.EvalOptions
	var params []string
	var sample string
	cmd := &cobra.Command{
		Use:   "eval EXPRESSION",
		Short: "Try an expression on a sample",
		Long: `Checks an expression as a flow would, and evaluates it over each document of a sample:
JSON documents one after the other, CSV (--format csv, or a file called .csv) or lines of
text. The values go to standard output, one JSON document a line; the static type goes
to standard error. Without a sample, body is null.

Exit code 0 if there is a value for each document, 1 if not, 2 if the expression is wrong.`,
		Example: `  penstock eval '1 + 2'
  penstock eval 'body.quantity * body.price' --sample orders.csv --schema order.schema.json
  echo '{"a": [1, 2]}' | penstock eval 'body.a.sum()' --sample -
  penstock eval '${body.id}-${params.site}' --sample day.jsonl --param site=eu`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("put the expression in quotes: penstock eval 'body.a + 1' --sample a.json", "eval takes one expression, and here are %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&sample, "sample", "s", "", "`file` with documents to evaluate over, - for standard input")
	cmd.Flags().StringVar(&o.Format, "format", "", "format of the sample: json, csv, text (default: by the file's name)")
	cmd.Flags().StringVar(&o.Schema, "schema", "", "JSON Schema `file` of the documents")
	cmd.Flags().StringArrayVar(&params, "param", nil, "value of a parameter, as `name=value`; may be given many times")
	cmd.Flags().StringArrayVar(&o.ParamFiles, "params", nil, "YAML `file` of parameter values")
	cmd.Flags().BoolVar(&o.Strict, "strict", false, "reading an optional or nullable field bare is an error")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		pr, err := (&projectFlags{params: params}).project(nil)
		if err != nil {
			return err
		}
		o.Expression, o.Params = args[0], pr.Params
		if sample != "" {
			in, done, err := p.open(sample)
			if err != nil {
				return err
			}
			defer done()
			o.Sample, o.SampleName = in, sample
			if sample == "-" {
				o.SampleName = "standard input"
			}
		}
		ev, err := p.Service.Eval(o)
		if ev == nil {
			return err
		}
		if p.asJSON {
			if err == nil {
				err = writeJSON(p.Stdout, ev)
			}
		} else {
			p.showEvaluation(ev)
		}
		if err == nil && !ev.OK {
			if ev.Type == "" {
				return exitWith(ExitConfig)
			}
			return exitWith(ExitFailed)
		}
		return err
	}
	return cmd
}

// open opens a file that a flag names, or standard input.
func (p *Program) open(name string) (io.Reader, func(), error) {
	if name == "-" {
		return p.Stdin, func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, fileError("open", name, err)
	}
	return f, func() { _ = f.Close() }, nil // it was only read
}

func (p *Program) showEvaluation(ev *control.Evaluation) {
	src := &sources{given: map[string][]byte{control.ExpressionFile: []byte(ev.Expression)}}
	showFindings(p.Stderr, p.color, src, ev.Findings)
	if ev.Type == "" {
		return
	}
	var b bytes.Buffer
	for _, r := range ev.Results {
		switch {
		case r.Error != nil:
			_, _ = p.Stdout.Write(b.Bytes()) // in the order of the documents, on a terminal
			b.Reset()
			p.showTrouble(resultTrouble(r))
		case r.Absent:
			b.WriteString("(absent)\n")
		default:
			b.Write(r.Value)
			b.WriteByte('\n')
		}
	}
	_, _ = p.Stdout.Write(b.Bytes())
	p.printf("%s %s\n", p.color.dim("type:"), ev.Type)
}

func resultTrouble(r control.EvalResult) trouble {
	t := trouble{Code: r.Error.Code, Message: r.Error.Message}
	var where []string
	if r.Error.Path != "" {
		where = append(where, r.Error.Path)
	}
	if r.Line > 0 {
		where = append(where, fmt.Sprintf("line %d of the sample", r.Line))
	}
	t.Where = strings.Join(where, ", ")
	return t
}

// fileError says what was wrong with a file that the command line names.
func fileError(op, name string, err error) error {
	code, hint := penstock.Unavailable, ""
	switch {
	case os.IsNotExist(err):
		code, hint = penstock.NotFound, "look at the path; it is relative to the current folder"
	case os.IsPermission(err):
		code, hint = penstock.Forbidden, "look at the rights of the file and its folder"
	}
	return &penstock.Error{Code: code, Op: op, Path: name, Err: bare(err), Hint: hint}
}
