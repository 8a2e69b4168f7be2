package compose

import (
	"maps"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// maxLogFiles bounds max-file: each rotation renames all of them.
const maxLogFiles = 1000

// logging takes the drivers of docker that keep output in files, by docker's own rules.
func (c *converter) logging(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	if s.Logging == nil {
		return
	}
	path = child(path, "logging")
	options := child(path, "options")
	switch s.Logging.Driver {
	case "", "json-file":
	case "local":
		out.Logs = plan.Logs{MaxSize: 20_000_000, MaxFiles: 5} // docker's defaults of it
	case "none":
		out.Logs.None = true
		if len(s.Logging.Options) > 0 {
			c.notef(options, "none stores nothing")
		}
		return
	default:
		c.notef(path, "there is no driver %q; the output of every service is kept in a file; see env logs", s.Logging.Driver)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Logging.Options)) {
		value, here := s.Logging.Options[name], child(options, name)
		switch name {
		case "max-size":
			size, err := units.FromHumanSize(value)
			if err != nil || size <= 0 {
				c.addf(here, "%q is no size; write a number with k, m or g, such as 10m", value)
			}
			out.Logs.MaxSize = size
		case "max-file":
			files, err := strconv.Atoi(value)
			if err != nil || files < 1 || files > maxLogFiles {
				c.addf(here, "%q is no number of files; write one from 1 to %d", value, maxLogFiles)
			}
			out.Logs.MaxFiles = files
		default:
			c.notef(here, "of output, size and number of files can be chosen; see max-size and max-file")
		}
	}
	// Docker's json-file keeps one file unless it is told otherwise.
	if out.Logs.MaxSize > 0 && out.Logs.MaxFiles == 0 {
		out.Logs.MaxFiles = 1
	}
}
