package main

import (
	"errors"
	"regexp"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// regexFlag is for commands that can take many containers at once.
func regexFlag() cli.Flag {
	return &cli.BoolFlag{Name: "regex", Usage: "take every container whose ID the regular expression ID matches, perhaps none"}
}

// eachMatching calls do with the container's ID, or under --regex with every ID
// that the regular expression matches. One that fails keeps no other from its
// turn.
func (inv *invocation) eachMatching(c *cli.Context, id string, do func(id string) error) error {
	if !c.Bool("regex") {
		return do(id)
	}
	pattern, err := regexp.Compile(id)
	if err != nil {
		return commandline.Usagef("%q is no regular expression: %v", id, err)
	}
	ids, err := inv.runtime.Matching(pattern)
	if err != nil {
		return err
	}
	var problems []error
	for _, id := range ids {
		problems = append(problems, do(id))
	}
	return errors.Join(problems...)
}
