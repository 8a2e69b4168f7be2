package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// result is all that a run of bench found out, in the form of -format json.
type result struct {
	Version    int             `json:"version"`
	Machine    machine         `json:"machine"`
	Contenders []contender     `json:"contenders"`
	Rounds     int             `json:"rounds"`
	Warmup     int             `json:"warmup"`
	Seed       uint64          `json:"seed"`
	Variants   []variantResult `json:"variants"`
	Verdict    verdict         `json:"verdict"`
}

type variantResult struct {
	variant
	Rows []row `json:"rows"`
}

// row is one contender in one variant.
type row struct {
	Contender string `json:"contender"`
	summary
	Samples []sample `json:"samples"` // one a round, in order
}

// collect condenses the series' samples; the contenders keep their order.
func collect(s *series, variants []variant, all []contender) []variantResult {
	var results []variantResult
	for _, v := range variants {
		base := s.of(reference, v)
		of := variantResult{variant: v}
		for _, c := range all {
			if own := s.of(c.Name, v); len(own) > 0 {
				of.Rows = append(of.Rows, row{Contender: c.Name, summary: summarize(own, base), Samples: own})
			}
		}
		results = append(results, of)
	}
	return results
}

// find returns the row of a contender in a variant, nil if it took no part.
func (r *result) find(variantName, contenderName string) *row {
	for i := range r.Variants {
		if r.Variants[i].Name != variantName {
			continue
		}
		for j := range r.Variants[i].Rows {
			if r.Variants[i].Rows[j].Contender == contenderName {
				return &r.Variants[i].Rows[j]
			}
		}
	}
	return nil
}

func (r *result) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeTable writes the result for people.
func (r *result) writeTable(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintln(&text, r.Machine)
	for _, c := range r.Contenders {
		if c.Version != "" {
			fmt.Fprintf(&text, "%s: %s (%s)%s\n", c.Name, c.Version, c.Path, c.note())
		}
	}
	fmt.Fprintf(&text, "%d rounds after %d to warm up, seed %d; milliseconds; ratios to %s are medians over the rounds\n", r.Rounds, r.Warmup, r.Seed, reference)
	for i := range r.Variants {
		v := &r.Variants[i]
		fmt.Fprintf(&text, "\n%s\n", v.title())
		r.writeRows(&text, v)
	}
	fmt.Fprintf(&text, "\n%s\n", r.Verdict)
	_, err := io.WriteString(w, text.String())
	return err
}

// note says how a contender's runs differ from the others'.
func (c *contender) note() string {
	if c.HidesUnified {
		return ", without cgroup2: it refuses this hybrid host otherwise"
	}
	return ""
}

func (r *result) writeRows(w io.Writer, v *variantResult) {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tCPU min\tmedian\tratio\twall min\tmedian\tratio\t")
	width := 0
	for _, c := range r.Contenders {
		width = max(width, len(c.Name))
	}
	for _, c := range r.Contenders {
		// The first column is padded by hand: tabwriter aligns all columns alike.
		name := fmt.Sprintf("%-*s", width, c.Name)
		if c.missing() {
			if c.takesPart(v.variant) {
				fmt.Fprintf(table, "%s\tmissing\t\t\t\t\t\t\n", name)
			}
			continue
		}
		row := r.find(v.Name, c.Name)
		if row == nil {
			continue
		}
		cpuRatio, wallRatio := "-", "-"
		if row.Ratio != nil {
			cpuRatio, wallRatio = fmt.Sprintf("%.2f", row.Ratio.CPU), fmt.Sprintf("%.2f", row.Ratio.Wall)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name,
			milliseconds(row.CPU.Min), milliseconds(row.CPU.Median), cpuRatio,
			milliseconds(row.Wall.Min), milliseconds(row.Wall.Median), wallRatio)
	}
	table.Flush() //nolint:errcheck // it writes to memory
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}
