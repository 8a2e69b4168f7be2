package main

import (
	"fmt"
	"strings"
)

// verdict says whether the aim was reached.
type verdict struct {
	// Aim is the highest ratio of sandboxrun to runc, CPU and wall.
	Aim    float64 `json:"aim"`
	Answer answer  `json:"answer"`
	// Figures are those that decided, by variant; why, if there are none.
	Figures string `json:"figures"`
}

type answer string

const (
	yes     answer = "yes"
	no      answer = "no"
	unknown answer = "unknown"
)

// judge compares the median ratios of the variants without limits with aim:
// limits cost all runtimes the same few writes, and no aim names them.
func judge(r *result, aim float64) verdict {
	v := verdict{Aim: aim, Answer: yes}
	var figures []string
	for _, name := range []string{"plain", "seccomp"} {
		row := r.find(name, subject)
		if row == nil || row.Ratio == nil {
			return verdict{Aim: aim, Answer: unknown, Figures: fmt.Sprintf("there is no ratio to %s in variant %s", reference, name)}
		}
		figures = append(figures, fmt.Sprintf("%s: CPU %.2f, wall %.2f", name, row.Ratio.CPU, row.Ratio.Wall))
		if row.Ratio.CPU > aim || row.Ratio.Wall > aim {
			v.Answer = no
		}
	}
	v.Figures = strings.Join(figures, "; ")
	return v
}

func (v verdict) String() string {
	return fmt.Sprintf("CPU and wall at or below %.2f x %s with and without seccomp: %s (%s)", v.Aim, reference, v.Answer, v.Figures)
}
