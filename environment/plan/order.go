package plan

import (
	"slices"
	"strings"
)

// order returns the services' names so that each comes after what it depends on,
// and otherwise by the alphabet; nil with a problem where there is a cycle.
func (c *completion) order() []string {
	var out []string
	done := map[string]bool{}
	left := c.names()
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(name string) bool {
			return !slices.ContainsFunc(c.dependencies(name), func(d string) bool { return !done[d] })
		})
		if next < 0 {
			cycle := c.cycle(left, done)
			c.addf(at(cycle[0], "depends_on"), "the services depend on each other in a circle: %s; leave one of these dependencies out", strings.Join(cycle, " → "))
			return nil
		}
		out = append(out, left[next])
		done[left[next]] = true
		left = slices.Delete(left, next, next+1)
	}
	return out
}

// dependencies are those that exist.
func (c *completion) dependencies(name string) []string {
	var out []string
	for _, d := range c.services[name].DependsOn {
		if _, known := c.services[d.Service]; known {
			out = append(out, d.Service)
		}
	}
	return out
}

// cycle returns a circle among the services left, none of which can be the next: from the alphabet's first of it back to
// it.
func (c *completion) cycle(left []string, done map[string]bool) []string {
	seen := map[string]int{}
	var path []string
	// Each of them waits for another one, so that the walk comes back to where it was.
	for name := left[0]; ; {
		if from, twice := seen[name]; twice {
			path = path[from:]
			break
		}
		seen[name] = len(path)
		path = append(path, name)
		waits := slices.IndexFunc(c.dependencies(name), func(d string) bool { return !done[d] })
		name = c.dependencies(name)[waits]
	}
	first := slices.Index(path, slices.Min(path))
	path = slices.Concat(path[first:], path[:first])
	return append(path, path[0])
}
