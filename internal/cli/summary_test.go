package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/run"
)

func TestSummary(t *testing.T) {
	intake := control.FlowSummary{FlowSummary: run.FlowSummary{
		Name: "intake", Read: 320705, Done: 318905, Dead: 1800, DeadLetter: "intake.dead.jsonl",
		Causes: []run.Cause{
			{Step: "check", Code: penstock.Unprocessable, Message: "price must be above 0", Count: 1790},
			{Step: "schema", Code: penstock.Unprocessable, Message: "first\nsecond", Count: 5},
			{Step: "schema", Code: penstock.Unprocessable, Message: otherCauses, Count: 5},
		},
	}, Rate: 81234.4, Sent: []control.Sent{{Endpoint: "intake/to", Label: "channel lines", Count: 318905}}}
	orders := control.FlowSummary{FlowSummary: run.FlowSummary{
		Name: "orders", Read: 318905, Done: 16459, Grouped: 318905, Groups: 16459, Bound: 1, Late: 2, Lost: 3, Unsettled: 4, Filtered: 7,
	}, Rate: 80000, Sent: []control.Sent{{Label: "file out/orders.jsonl", Count: 16459}, {Label: "file out/big.jsonl", Count: 3}}}
	for _, tc := range []struct {
		name string
		sum  control.Summary
		want string
	}{
		{
			name: "several flows",
			sum: control.Summary{Seconds: 3.95, Stopped: true, Flows: []control.FlowSummary{intake, orders},
				Channels: []run.ChannelSummary{{Name: "lines", Handed: 318905, Lost: 6}}},
			want: `flow       read     done  filtered  grouped   dead     sent      rate
intake  320,705  318,905         0        0  1,800  318,905  81,234/s
orders  318,905   16,459         7  318,905      0   16,462  80,000/s
in 4.0s

sent
  intake  318,905  → channel lines
  orders   16,459  → file out/orders.jsonl
  orders        3  → file out/big.jsonl

dead letters
  1,790 × price must be above 0 (step check) → intake.dead.jsonl
  5 × first (step schema) → intake.dead.jsonl
  5 × for other reasons → intake.dead.jsonl

! orders: 4 messages were not settled; they are read again at the next start, where the source can
! orders: 1 group was completed early, because the bound of open groups or of their memory was reached
! orders: 2 messages came after the group was complete
! orders: 3 messages were not sent by steps with wait: false
! channel lines: 6 messages were left in memory and lost
! stopped before the sources had ended
`,
		},
		{
			name: "called",
			sum: control.Summary{Seconds: 2, Stopped: true, Flows: []control.FlowSummary{
				{FlowSummary: run.FlowSummary{Name: "hello", Called: true, Read: 9, Done: 4, Filtered: 1, Failed: 4,
					Causes: []run.Cause{{Step: "schema", Message: "no name", Count: 3, Refused: true}}}, Rate: 4.5},
				{FlowSummary: run.FlowSummary{Name: "intake", Called: true, Read: 3, Done: 2, Again: 1, Dead: 1, Groups: 1, DeadLetter: "intake.dead",
					Causes: []run.Cause{{Step: "late", Message: "m", Count: 1}}}, Rate: 1.5},
			}},
			want: `flow    read  done  filtered  failed  dead  sent   rate
hello      9     4         1       4     0     0  4.5/s
intake     3     2         0       0     1     0  1.5/s
in 2.0s

failed requests
  3 × no name (step schema) → the callers of hello
  1 × for other reasons → the callers of hello

dead letters
  1 × m (step late) → intake.dead

every message is accounted for
  hello: 9 read = 4 done + 1 filtered + 4 failed
  intake: 3 read + 1 groups = 2 done + 1 dead + 1 known
`,
		},
		{
			name: "nothing got through",
			sum: control.Summary{Seconds: 0.02, Flows: []control.FlowSummary{{FlowSummary: run.FlowSummary{Name: "a", Read: 2, Dead: 2, DeadLetter: "a.dead.jsonl",
				Causes: []run.Cause{{Step: "s", Message: "m", Count: 2}}}}}},
			want: `flow  read  done  filtered  dead  sent  rate
a        2     0         0     2     0     -
in 20ms

dead letters
  2 × m (step s) → a.dead.jsonl

! a: nothing got through: 2 messages were dead-lettered

every message is accounted for
  a: 2 read = 2 dead
`,
		},
		{
			name: "groups",
			sum:  control.Summary{Seconds: 0.02, Flows: []control.FlowSummary{{FlowSummary: run.FlowSummary{Name: "a", Read: 9, Filtered: 1, Grouped: 8, Groups: 3, Done: 3}}}},
			want: `flow  read  done  filtered  grouped  dead  sent  rate
a        9     3         1        8     0     0     -
in 20ms

every message is accounted for
  a: 9 read + 3 groups = 3 done + 1 filtered + 8 grouped
`,
		},
		{
			name: "late and split",
			sum: control.Summary{Seconds: 0.02, Flows: []control.FlowSummary{
				{FlowSummary: run.FlowSummary{Name: "included", Read: 9, Grouped: 9, Groups: 3, Done: 3, Late: 1}},
				{FlowSummary: run.FlowSummary{Name: "dropped", Read: 9, Grouped: 8, Groups: 3, Done: 3, Late: 1}},
				{FlowSummary: run.FlowSummary{Name: "parts", Read: 5, Split: 7, Done: 6, Filtered: 1, Dead: 2,
					Causes: []run.Cause{{Step: "s", Message: "m", Count: 2}}, DeadLetter: "parts.dead.jsonl",
					Steps: []run.StepSummary{{Verb: "split", In: 5, Dropped: 1, Errors: 1}, {Verb: "to", In: 6}}}},
			}},
			want: `flow      read  done  filtered  grouped  dead  sent  rate
included     9     3         0        9     0     0     -
dropped      9     3         0        8     0     0     -
parts        5     6         1        0     2     0     -
in 20ms

dead letters
  2 × m (step s) → parts.dead.jsonl

! included: 1 message came after the group was complete
! dropped: 1 message came after the group was complete

every message is accounted for
  included: 9 read + 3 groups = 3 done + 9 grouped
  dropped: 9 read + 3 groups = 3 done + 8 grouped + 1 late
  parts: 5 read + 7 parts = 6 done + 1 filtered + 2 dead + 3 split
`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			showSummary(&out, styles{}, &tc.sum)
			if out.String() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), tc.want)
			}
		})
	}
}

func TestProgressLinesAreJSON(t *testing.T) {
	var out bytes.Buffer
	(&lines{w: &out}).show(snapshot(1.5, 7))
	var got struct {
		Type    string
		Seconds float64
		Flows   []struct {
			Name string
			Read int64
			Sent []struct{ Count int64 }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "progress" || got.Seconds != 1.5 || len(got.Flows) != 1 || got.Flows[0].Name != "flowa" || got.Flows[0].Read != 7 {
		t.Errorf("got %s", out.String())
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines", n)
	}
}
