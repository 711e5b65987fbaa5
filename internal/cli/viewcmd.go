package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity/view"
)

func (p *Program) viewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Look after views: rows that are kept from events",
		Long: `Views are rows that follow the events of an entity or a channel (kind View). They are what the events come to; these
commands show how far they have come, build them anew, and have one go on that has stopped.`,
	}
	cmd.AddCommand(
		p.viewList(),
		p.viewAct(operate.ViewRebuild, "Build the rows of a view anew, and switch to them",
			`Makes the rows anew, of all events that are there, beside those that flows go on reading. When they have caught up, both are compared by
checksum, and queries read the new ones from then on, all at once. Who stops waiting does not stop it: it goes on, also in the next run.`),
		p.viewAct(operate.ViewDiff, "Build the rows of a view anew, and show what is other than those that are there",
			`Makes the rows anew beside those that flows go on reading, as rebuild does, and compares both at the same event, but does not switch. The rows that
differ are listed. What was built stays beside, and follows: penstock view rebuild switches to it.`),
		p.viewAct(operate.ViewRetry, "Have a view that has stopped try its event again", `Has a view go on with the event at which it has stopped. So does each start of the process.`),
		p.viewAct(operate.ViewSkip, "Have a view that has stopped leave its event out",
			`Has a view go on behind the event at which it has stopped. Its rows are from then on not what all events come to; the next rebuild
meets the event again. Who did so is written down in the channel #audit.`),
	)
	return cmd
}

func (p *Program) viewList() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{Use: "list", Short: "Show how views stand", Args: noArgs,
		Long: "For each view how many rows it has, how many events are not in them yet (lag), and why it has stopped, if it has."}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			all, err := ops.Views.States(ctx)
			switch {
			case err != nil:
				return err
			case p.asJSON:
				return writeJSON(p.Stdout, all)
			case len(all.Views) == 0:
				_, err = fmt.Fprintln(p.Stdout, "there are no views")
				return err
			}
			var b strings.Builder
			showViews(&b, newStyles(p.Stdout, p.Getenv), all.Views)
			_, err = fmt.Fprintln(p.Stdout, strings.TrimSpace(b.String()))
			return err
		})
	}
	return cmd
}

func (p *Program) viewAct(verb, short, long string) *cobra.Command {
	f := &placeFlags{}
	list := 20
	cmd := &cobra.Command{Use: verb + " <view>", Short: short, Long: long, Args: exactlyOne("the name of a view")}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	if verb == operate.ViewDiff {
		cmd.Flags().IntVar(&list, "list", list, "how many rows that differ are listed")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			show, done := p.transient()
			r, err := ops.Views.Act(ctx, operate.ViewAction{Verb: verb, View: args[0], List: list, Who: userName()}, func(s operate.ViewState) error {
				if b := s.Building; b != nil {
					show("%s events, %s rows; %s events to go", count(b.Events), count(b.Rows), count(b.Lag))
				}
				return nil
			})
			done()
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, r)
			}
			_, err = fmt.Fprint(p.Stdout, viewActed(verb, r))
			return err
		})
	}
	return cmd
}

// viewActed says what was done.
func viewActed(verb string, r *operate.ViewActed) string {
	var b strings.Builder
	switch {
	case verb == operate.ViewSkip && r.Skipped != nil:
		fmt.Fprintf(&b, "%s leaves the event at %d out (%s %s), and goes on\n", r.View.View, r.Skipped.Position, r.Skipped.Kind, r.Skipped.Key)
	case verb == operate.ViewRetry:
		fmt.Fprintf(&b, "%s tries the event again\n", r.View.View)
	}
	if s := r.View.Stopped; s != nil {
		fmt.Fprintf(&b, "%s has stopped at %d: %s\n", r.View.View, s.Position, visible(s.Message))
	}
	c := r.Compared
	if c == nil {
		return b.String()
	}
	switch verb {
	case operate.ViewRebuild:
		fmt.Fprintf(&b, "%s: generation %d is read now, %s\n", r.View.View, r.View.Generation, plural(int(c.New), "row", "rows"))
	default:
		fmt.Fprintf(&b, "%s: %s are read, %s were built\n", r.View.View, plural(int(c.Rows), "row", "rows"), plural(int(c.New), "row", "rows"))
	}
	fmt.Fprintf(&b, "  checksum of what was there  %s\n  checksum of what was built  %s\n", c.Checksum, c.Built)
	if !c.Level {
		b.WriteString("  they are not made of the same events: the rows that were there had not come as far, or another definition made them\n")
	}
	if c.Differ == 0 {
		b.WriteString("  no row differs\n")
		return b.String()
	}
	fmt.Fprintf(&b, "  %s\n", plural(int(c.Differ), "row differs", "rows differ"))
	for _, d := range c.Differences {
		fmt.Fprintf(&b, "  %s\n    - %s\n    + %s\n", visible(d.Key), rowText(d.Row), rowText(d.New))
	}
	return b.String()
}

func rowText(s string) string {
	if s == "" {
		return "(none)"
	}
	return visible(s)
}

// showViews writes a table of views.
func showViews(b *strings.Builder, c styles, views []view.State) {
	if len(views) == 0 {
		return
	}
	rows := [][]string{{"view", "state", "rows", "lag", "oldest", "built anew"}}
	for _, v := range views {
		built := "-"
		if n := v.Building; n != nil {
			built = count(n.Rows) + " rows, lag " + count(n.Lag)
			switch {
			case n.Stopped != nil:
				built = fmt.Sprintf("stopped at %d", n.Stopped.Position)
			case n.Hold && n.Compared != nil:
				built += ", held"
			}
		}
		rows = append(rows, []string{v.View, viewState(&v), count(v.Rows), count(v.Lag), ago(v.Age), built})
	}
	b.WriteByte('\n')
	for i, line := range table(rows, []bool{false, false, true, true, true, false}) {
		switch {
		case i == 0:
			line = c.bold(line)
		case views[i-1].Stopped != nil || views[i-1].Building != nil && views[i-1].Building.Stopped != nil:
			line = c.red(line)
		}
		b.WriteString(line + "\n")
	}
	for _, v := range views {
		for _, s := range []*view.Stopped{v.Stopped, stoppedOf(v.Building)} {
			if s != nil {
				fmt.Fprintf(b, "%s %s: %s\n", c.red("!"), v.View, visible(s.Message))
			}
		}
	}
}

// viewState says what a view does.
func viewState(v *view.State) string {
	switch {
	case v.Inline && v.Phase == view.Running:
		return "inline"
	case v.Stopped != nil:
		return fmt.Sprintf("stopped at %d", v.Stopped.Position)
	case v.Phase == view.Running && v.Changed:
		return "changed"
	}
	return string(v.Phase)
}

// topViews is the table of views below that of flows: how many rows they have, how far they are behind, and how many events a second were folded since the look before
// (nil: there was none).
func topViews(c styles, st, before *operate.Status) []string {
	if len(st.Views) == 0 {
		return nil
	}
	rows := [][]string{{"view", "state", "rows", "lag", "oldest", "folded"}}
	for i := range st.Views {
		v, folded := &st.Views[i], "-"
		if before != nil && before.PID == st.PID && st.Seconds > before.Seconds {
			for j := range before.Views {
				if o := &before.Views[j]; o.View == v.View && o.Generation == v.Generation && v.Events >= o.Events {
					folded = rate(float64(v.Events-o.Events) / (st.Seconds - before.Seconds))
				}
			}
		}
		rows = append(rows, []string{v.View, viewState(v), count(v.Rows), count(v.Lag), ago(v.Age), folded})
	}
	out := []string{""}
	for i, line := range table(rows, []bool{false, false, true, true, true, true}) {
		switch {
		case i == 0:
			line = c.bold(line)
		case st.Views[i-1].Phase == view.Halted || stoppedOf(st.Views[i-1].Building) != nil:
			line = c.red(line)
		case st.Views[i-1].Phase != view.Running:
			line = c.yellow(line)
		}
		out = append(out, line)
	}
	return out
}

func stoppedOf(b *view.Built) *view.Stopped {
	if b == nil {
		return nil
	}
	return b.Stopped
}
