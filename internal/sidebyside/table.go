package sidebyside

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A figure is one column of the table.
type figure struct {
	name, format string
	of           func(*result) float64
}

func (c *Comparison) figures() []figure {
	out := []figure{
		{c.Unit + "s/s", "%.0f", func(r *result) float64 { return float64(r.calls) / r.took.Seconds() }},
		{"p50 µs", "%.0f", func(r *result) float64 { return Micros(r.p50) }},
		{"p99 µs", "%.0f", func(r *result) float64 { return Micros(r.p99) }},
	}
	if c.Heap {
		out = append(out, figure{"heap B/" + c.Unit, "%.0f", func(r *result) float64 { return float64(r.used.Bytes) / float64(r.calls) }})
	}
	return append(out, figure{"CPU µs/" + c.Unit, "%.1f", func(r *result) float64 { return Micros(r.used.CPU) / float64(r.calls) }})
}

// Micros gives a time in microseconds.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// printTable prints, of each server and figure, the median of the rounds, and
// the median of its ratios to the first server in the same round. The last
// column is the range of the last figure's ratios.
func (c *Comparison) printTable(out io.Writer, servers []Server, results [][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	figures := c.figures()
	header := "server\t"
	for _, f := range figures {
		header += f.name + "\tratio\t"
	}
	fmt.Fprintln(w, header+"range\t")
	for i, s := range servers {
		line := s.Name + "\t"
		var least, most float64
		for _, f := range figures {
			var own, ratios []float64
			for round := range results[i] {
				v := f.of(&results[i][round])
				own = append(own, v)
				ratios = append(ratios, v/f.of(&results[0][round]))
			}
			line += fmt.Sprintf(f.format, median(own)) + fmt.Sprintf("\t×%.2f\t", median(ratios))
			least, most = slices.Min(ratios), slices.Max(ratios)
		}
		fmt.Fprintf(w, "%s%.2f–%.2f\t\n", line, least, most)
	}
	return w.Flush()
}

func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Machine gives a line about what is measured on.
func Machine() string {
	return fmt.Sprintf("%d cores, %s, %s, %s/%s", runtime.NumCPU(), cpuModel(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// cpuModel gives the CPU's name where Linux tells it.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown CPU"
}
