package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes command lines",
		ArgsUsage: "bash|zsh|fish",
		Description: `The script knows commands and flags; IDs come from sandboxrun list.

EXAMPLES:
   sandboxrun completion bash >/etc/bash_completion.d/sandboxrun
   sandboxrun completion zsh >"${fpath[1]}/_sandboxrun"
   sandboxrun completion fish >~/.config/fish/completions/sandboxrun.fish`,
		Action: func(c *cli.Context) error {
			write, ok := map[string]func([]completedCommand) string{
				"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion,
			}[c.Args().First()]
			if !ok || c.NArg() != 1 {
				return commandline.Usagef("completion takes the name of a shell: bash, zsh or fish")
			}
			_, err := fmt.Fprint(inv.streams.out, write(completions(c.App)))
			return err
		},
	}
}

// completedCommand is a command as a completion script sees it; the first of
// all, without a name, has the global flags.
type completedCommand struct {
	name, usage string
	flags       []completedFlag
	takesID     bool
}

type completedFlag struct {
	names      []string // with their dashes
	usage      string
	takesValue bool
}

// completions reads the visible commands and flags of the command line.
func completions(app *cli.App) []completedCommand {
	all := []completedCommand{{flags: completedFlags(app.Flags)}}
	for _, command := range app.Commands {
		if command.Hidden {
			continue
		}
		all = append(all, completedCommand{
			name:    command.Name,
			usage:   command.Usage,
			flags:   completedFlags(command.Flags),
			takesID: strings.HasPrefix(command.ArgsUsage, "ID"),
		})
	}
	return all
}

func completedFlags(flags []cli.Flag) []completedFlag {
	list := []completedFlag{}
	for _, flag := range flags {
		if visible, ok := flag.(cli.VisibleFlag); ok && !visible.IsVisible() {
			continue
		}
		documented, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		f := completedFlag{usage: strings.ReplaceAll(documented.GetUsage(), "`", ""), takesValue: documented.TakesValue()}
		for _, name := range flag.Names() {
			f.names = append(f.names, dashes(name)+name)
		}
		list = append(list, f)
	}
	if !slices.ContainsFunc(list, func(f completedFlag) bool { return slices.Contains(f.names, "--help") }) {
		list = append(list, completedFlag{names: []string{"--help", "-h"}, usage: "show help"})
	}
	return list
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-"
	}
	return "--"
}

// flagNames returns the names of the flags, or of those only that take a value.
func (c completedCommand) flagNames(withValue bool) []string {
	var names []string
	for _, f := range c.flags {
		if f.takesValue || !withValue {
			names = append(names, f.names...)
		}
	}
	return names
}

func bashCompletion(commands []completedCommand) string {
	var s strings.Builder
	var names []string
	for _, c := range commands[1:] {
		names = append(names, c.name)
	}
	s.WriteString(`# bash completion of sandboxrun
_sandboxrun() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
	local command= flags= values= ids= i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
`)
	fmt.Fprintf(&s, "\t\t%s) ((i++)) ;;\n", strings.Join(commands[0].flagNames(true), "|"))
	s.WriteString(`		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $command in
`)
	for _, c := range commands {
		id := ""
		if c.takesID {
			id = "ids=yes"
		}
		fmt.Fprintf(&s, "\t'%s') flags='%s' values=' %s ' %s ;;\n", c.name, strings.Join(c.flagNames(false), " "), strings.Join(c.flagNames(true), " "), id)
	}
	fmt.Fprintf(&s, `	esac
	if [[ $values == *" $previous "* ]]; then
		COMPREPLY=($(compgen -f -- "$current"))
	elif [[ $current == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$current"))
	elif [[ -z $command ]]; then
		COMPREPLY=($(compgen -W '%s' -- "$current"))
	elif [[ -n $ids ]]; then
		COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" list -q 2>/dev/null)" -- "$current"))
	else
		COMPREPLY=($(compgen -f -- "$current"))
	fi
}
complete -o filenames -F _sandboxrun sandboxrun
`, strings.Join(names, " "))
	return s.String()
}

func zshCompletion(commands []completedCommand) string {
	var s strings.Builder
	s.WriteString("#compdef sandboxrun\n\n_sandboxrun() {\n\tlocal -a commands\n\tcommands=(\n")
	for _, c := range commands[1:] {
		fmt.Fprintf(&s, "\t\t%s\n", singleQuoted(c.name+":"+c.usage))
	}
	s.WriteString("\t)\n\tlocal context state line\n\t_arguments -C \\\n")
	for _, f := range commands[0].flags {
		writeZshFlag(&s, f)
	}
	s.WriteString("\t\t'1: :->command' '*:: :->argument'\n\tcase $state in\n\tcommand) _describe command commands ;;\n\targument)\n\t\tcase $line[1] in\n")
	for _, c := range commands[1:] {
		fmt.Fprintf(&s, "\t\t%s)\n\t\t_arguments \\\n", c.name)
		for _, f := range c.flags {
			writeZshFlag(&s, f)
		}
		if c.takesID {
			s.WriteString("\t\t'1:container:($(sandboxrun list -q 2>/dev/null))'\n\t\t;;\n")
		} else {
			s.WriteString("\t\t'*:file:_files'\n\t\t;;\n")
		}
	}
	s.WriteString("\t\tesac\n\t\t;;\n\tesac\n}\n\n_sandboxrun \"$@\"\n")
	return s.String()
}

func writeZshFlag(s *strings.Builder, f completedFlag) {
	// Brackets and colons end a description.
	usage := strings.NewReplacer("[", "(", "]", ")", ":", "").Replace(f.usage)
	value := ""
	if f.takesValue {
		value = ":value:_files"
	}
	for _, name := range f.names {
		fmt.Fprintf(s, "\t\t%s \\\n", singleQuoted(name+"["+usage+"]"+value))
	}
}

func fishCompletion(commands []completedCommand) string {
	var s strings.Builder
	s.WriteString("# fish completion of sandboxrun\n")
	for _, c := range commands {
		condition := "__fish_use_subcommand"
		if c.name != "" {
			fmt.Fprintf(&s, "complete -c sandboxrun -f -n __fish_use_subcommand -a %s -d %s\n", c.name, singleQuoted(c.usage))
			condition = singleQuoted("__fish_seen_subcommand_from " + c.name)
		}
		for _, f := range c.flags {
			fmt.Fprintf(&s, "complete -c sandboxrun -n %s", condition)
			for _, name := range f.names {
				if long, ok := strings.CutPrefix(name, "--"); ok {
					s.WriteString(" -l " + long)
				} else {
					s.WriteString(" -s " + name[1:])
				}
			}
			if f.takesValue {
				s.WriteString(" -r")
			}
			fmt.Fprintf(&s, " -d %s\n", singleQuoted(f.usage))
		}
		if c.takesID {
			fmt.Fprintf(&s, "complete -c sandboxrun -f -n %s -a '(sandboxrun list -q 2>/dev/null)'\n", condition)
		}
	}
	return s.String()
}

// singleQuoted is for all three shells.
func singleQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "") + "'" }
