package commandline

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// FlagsFirst returns a command line in which the flags of a subcommand come before
// its arguments, so that `bundle build SOURCE -o DIR` works: the library that
// parses it stops at the first argument. What follows "--" is left as it is, and
// so are the arguments of the commands named in ordered, which begin another
// program's command line.
func FlagsFirst(app *cli.App, args []string, ordered ...string) []string {
	if len(args) == 0 {
		return args
	}
	done, rest := args[:1:1], args[1:]
	flags, commands := app.Flags, app.Commands
	first := true
	for {
		taken, positional, next := split(rest, flags, first)
		done = append(done, taken...)
		if len(commands) == 0 || next == nil {
			return append(append(done, positional...), next...)
		}
		done = append(done, next[0])
		rest = next[1:]
		at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(next[0]) })
		if at < 0 {
			return append(done, rest...)
		}
		first = len(commands[at].Subcommands) > 0 || slices.Contains(ordered, commands[at].Name)
		flags, commands = commands[at].Flags, commands[at].Subcommands
	}
}

// split takes the flags out of args, with their values. If first is set, it ends
// at the first argument, which then is the first of rest; otherwise rest is what
// begins with "--".
func split(args []string, flags []cli.Flag, first bool) (taken, positional, rest []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			if len(positional) > 0 {
				return append(taken, "--"), positional, args[i+1:]
			}
			return taken, nil, args[i:]
		case !strings.HasPrefix(arg, "-") || arg == "-":
			if first {
				return taken, nil, args[i:]
			}
			positional = append(positional, arg)
		default:
			taken = append(taken, arg)
			if takesValue(flags, arg) && i+1 < len(args) {
				i++
				taken = append(taken, args[i])
			}
		}
	}
	return taken, positional, nil
}

// takesValue tells whether a flag as it is written has its value in the next word:
// of several letters behind one dash the last one decides.
func takesValue(flags []cli.Flag, written string) bool {
	name := strings.TrimLeft(written, "-")
	if takes, known := lookUp(flags, name); known {
		return takes
	}
	if strings.HasPrefix(written, "--") || strings.Contains(name, "=") || len(name) < 2 {
		return false
	}
	takes, _ := lookUp(flags, name[len(name)-1:])
	return takes
}

// lookUp tells of a flag whether it takes a value, and whether there is one of this
// name.
func lookUp(flags []cli.Flag, name string) (takes, known bool) {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			documented, ok := f.(cli.DocGenerationFlag)
			return ok && documented.TakesValue(), true
		}
	}
	return false, false
}
