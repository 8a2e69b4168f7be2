package logging

import "github.com/urfave/cli/v2"

// Flags are --debug, --log, --log-level and --log-format.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "debug", Usage: "log each step"},
		&cli.StringFlag{Name: "log", Usage: "append log records to `FILE` (also file:FILE), or send them to the journal: journald:[IDENTIFIER] (default: warnings and errors on stderr)"},
		&cli.StringFlag{Name: "log-level", Usage: "log what is as grave as `LEVEL` or more: debug, info, warning or error (default: warning; info with --log)"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "form of log records: text or json"},
	}
}

// SettingsOf reads the flags.
func SettingsOf(c *cli.Context) Settings {
	return Settings{Debug: c.Bool("debug"), Destination: c.String("log"), Level: c.String("log-level"), Format: c.String("log-format")}
}
