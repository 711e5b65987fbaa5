package cli

import (
	"fmt"
	"strings"

	"penstock.dev/penstock/internal/control/operate"
)

// showReplicas says who owns what.
func showReplicas(b *strings.Builder, c styles, all []operate.ReplicaStatus) {
	if len(all) == 0 {
		return
	}
	rows := [][]string{{"replica", "address", "version", "since", "parts", "flows"}}
	for _, r := range all {
		var flows []string
		for _, f := range r.Flows {
			name := f.Flow
			if f.Everywhere {
				name += " (everywhere)"
			}
			flows = append(flows, name)
		}
		name, what := r.Replica, strings.Join(flows, ", ")
		if r.Self {
			name += " (this one)"
		}
		if r.Stopping {
			what = strings.TrimPrefix(what+", stopping", ", ")
		}
		rows = append(rows, []string{visible(name), dash(visible(r.Address)), dash(visible(r.Version)), elapsed(r.Seconds), parts(r.Parts), dash(visible(what))})
	}
	b.WriteByte('\n')
	for i, line := range table(rows, []bool{false, false, false, true, false, false}) {
		if i == 0 {
			line = c.bold(line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteByte('\n')
}

// dash stands where there is nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// maxRanges bounds what is written of the parts that somebody has.
const maxRanges = 6

// parts writes numbers as ranges: 0-20 33.
func parts(all []int) string {
	var out []string
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == all[j]+1 {
			j++
		}
		if j > i {
			out = append(out, fmt.Sprintf("%d-%d", all[i], all[j]))
		} else {
			out = append(out, fmt.Sprint(all[i]))
		}
		i = j + 1
	}
	if len(out) > maxRanges {
		return fmt.Sprintf("%d of them", len(all))
	}
	return dash(strings.Join(out, " "))
}
