package main

import (
	"encoding/json"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// versionAnnotation is ours in the output of features.
const versionAnnotation = "org.sandboxrun.version"

func (inv *invocation) featuresCommand() *cli.Command {
	return &cli.Command{
		Name:  "features",
		Usage: "print what this build can do as JSON",
		Description: `The form is that of runtime-spec (features.md); sandboxrun info tells what the
host can do.

EXAMPLE:
   sandboxrun features`,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return commandline.Usagef("features takes no arguments")
			}
			f := runtime.Features()
			f.Annotations[versionAnnotation] = version
			encoder := json.NewEncoder(inv.streams.out)
			encoder.SetIndent("", "    ")
			return encoder.Encode(f)
		},
	}
}
