package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// sources are the files and variables that an environment is read from.
type sources struct {
	files     []file
	dir       string
	variables types.Mapping
	profiles  []string
	// left are the keys of the merged model that are not supported, if they were looked for.
	left []loader.UnsupportedAttribute
}

func (s *sources) names() []string {
	var out []string
	for _, f := range s.files {
		out = append(out, f.name)
	}
	return out
}

// gather finds and reads the files.
func gather(o Options) (*sources, error) {
	caller := types.Mapping{}
	for _, variable := range o.Environ {
		if name, value, found := strings.Cut(variable, "="); found {
			caller[name] = value
		}
	}
	s := &sources{}
	dir := o.Dir
	if dir == "" && len(o.Files) > 0 && o.Files[0] != "-" {
		dir = filepath.Dir(o.Files[0])
	}
	var err error
	if s.dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find project's directory: %w", err)
	}
	if s.variables, err = readVariables(caller, o.EnvFiles, s.dir); err != nil {
		return nil, err
	}
	names := o.Files
	if len(names) == 0 {
		names = s.named()
	}
	found := len(names) == 0
	if found {
		if names, err = search(s.dir); err != nil {
			return nil, err
		}
	}
	short := found && o.Dir == ""
	if at := filepath.Dir(names[0]); o.Dir == "" && len(o.Files) == 0 && names[0] != "-" && at != s.dir {
		// The project is where its first file is, and so are its variables.
		s.dir, short = at, false
		if s.variables, err = readVariables(caller, o.EnvFiles, s.dir); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		f, err := open(name, o.Stdin, short)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, f)
	}
	s.profiles = o.Profiles
	if len(s.profiles) == 0 {
		s.profiles = strings.FieldsFunc(s.variables["COMPOSE_PROFILES"], func(r rune) bool { return r == ',' || r == ' ' })
	}
	return s, nil
}

// named are the files of COMPOSE_FILE, meant from the project's directory.
func (s *sources) named() []string {
	separator := s.variables["COMPOSE_PATH_SEPARATOR"]
	if separator == "" {
		separator = string(os.PathListSeparator)
	}
	var out []string
	for name := range strings.SplitSeq(s.variables["COMPOSE_FILE"], separator) {
		if name != "" && name != "-" && !filepath.IsAbs(name) {
			name = filepath.Join(s.dir, name)
		}
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// search looks for a Compose file in dir and above.
func search(dir string) ([]string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		if name := first(at, "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"); name != "" {
			names := []string{name}
			if over := first(at, "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"); over != "" {
				names = append(names, over)
			}
			return names, nil
		}
		if at == filepath.Dir(at) {
			return nil, fmt.Errorf("cannot find compose.yaml: %w in %s or above; go where it is, or name it with -f FILE", ErrNoFile, dir)
		}
	}
}

func first(dir string, names ...string) string {
	for _, name := range names {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// open reads a file that was asked for. One that was found is called by its name alone where it is in the working directory.
func open(name string, stdin io.Reader, short bool) (file, error) {
	if name == "-" {
		if stdin == nil {
			stdin = strings.NewReader("")
		}
		data, err := io.ReadAll(io.LimitReader(stdin, maxFile+1))
		if err != nil {
			return file{}, fmt.Errorf("read Compose file from standard input: %w", err)
		}
		return file{name: "-", path: "-", data: data}, nil
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return file{}, fmt.Errorf("find Compose file: %w", err)
	}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, fmt.Errorf("cannot read %s: %w of this name; name one that is there with -f FILE", name, ErrNoFile)
	}
	if err != nil {
		return file{}, fmt.Errorf("cannot read %s: %w; name a Compose file with -f FILE", name, err)
	}
	if short {
		name = filepath.Base(path)
	}
	return file{name: name, path: path, data: data}, nil
}

// readFile reads a regular file, or a pipe that a shell made of one, of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is larger than %d bytes", maxFile)}
	}
	return data, err
}

// readVariables returns the caller's variables and those of files, over which the caller's win. Without files, they are those
// of COMPOSE_ENV_FILES, or .env in dir.
func readVariables(caller types.Mapping, files []string, dir string) (types.Mapping, error) {
	if len(files) == 0 {
		files = strings.FieldsFunc(caller["COMPOSE_ENV_FILES"], func(r rune) bool { return r == ',' })
	}
	if off, _ := strconv.ParseBool(caller["COMPOSE_DISABLE_ENV_FILE"]); len(files) == 0 && !off {
		if path := filepath.Join(dir, ".env"); isFile(path) {
			files = []string{path}
		}
	}
	fromFiles := types.Mapping{}
	for _, name := range files {
		data, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read variables: %s; name a file that is there with --env-file", reason(err))
		}
		known := caller.Clone().Merge(fromFiles)
		variables, err := dotenv.ParseWithLookup(strings.NewReader(string(data)), known.Resolve)
		if err != nil {
			return nil, Problems{{File: name, Text: strings.Join(strings.Fields(err.Error()), " ")}}
		}
		maps.Copy(fromFiles, variables)
	}
	return caller.Clone().Merge(fromFiles), nil
}

// load has the library read and merge the files. thorough has it check them, too, which it does slowly: it is needed where
// files were merged that this package has not seen whole.
func (s *sources) load(ctx context.Context, o Options, thorough bool) (project *types.Project, err error) {
	// The library takes files for granted that its schema allows. A file that is not caught before would end the program.
	defer func() {
		if r := recover(); r != nil {
			project, err = nil, fmt.Errorf("the file cannot be understood: %v; try `docker compose config` for more", r)
		}
	}()
	details := types.ConfigDetails{WorkingDir: s.dir, Environment: s.variables}
	for _, f := range s.files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: f.path, Content: f.data})
	}
	name, explicit := s.projectName(o)
	if explicit && !plan.IsName(name) {
		return nil, Problems{{File: s.files[0].name, Key: "name", Text: fmt.Sprintf("%q is no name of an environment: write a-z, 0-9, _ and - after a letter or digit, at most 63", name)}}
	}
	project, err = loader.LoadWithContext(ctx, details, func(l *loader.Options) {
		l.SetProjectName(name, explicit)
		l.SkipValidation = !thorough
		l.SkipConsistencyCheck = true
		// The converter knows the defaults; what is printed for people has them.
		l.SkipDefaultValues = !thorough
		l.SkipResolveEnvironment = true
		l.SkipResolveLabels = true
		l.Profiles = s.profiles
		// The library would log what Load returns.
		l.Interpolate.Substitute = func(text string, variables template.Mapping) (string, error) {
			return template.SubstituteWithOptions(text, variables, template.WithoutLogging)
		}
		l.Interpolate.TypeCastMapping = quietly(l.Interpolate.TypeCastMapping)
		if thorough {
			l.UnsupportedAttributesCheck = &loader.UnsupportedAttributesCheck{
				Supported: supportedPaths(),
				Report:    func(found []loader.UnsupportedAttribute) { s.left = found },
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if len(o.Services) > 0 {
		if project, err = s.choose(project, o.Services); err != nil {
			return nil, err
		}
	}
	return project, nil
}

// quietly gives the casts the words of YAML 1.2 for those of 1.1, at which the library logs a warning. The map given is the
// library's own for all loads, and stays as it is.
func quietly(casts map[tree.Path]interpolation.Cast) map[tree.Path]interpolation.Cast {
	out := make(map[tree.Path]interpolation.Cast, len(casts))
	for path, cast := range casts {
		out[path] = func(value string) (any, error) {
			switch strings.ToLower(value) {
			case "y", "yes", "on":
				value = "true"
			case "n", "no", "off":
				value = "false"
			}
			return cast(value)
		}
	}
	return out
}

// supportedPaths are the keys of the specification that are not refused.
func supportedPaths() []tree.Path {
	table := attributeTable()
	var out []tree.Path
	for _, path := range schema.AttributePaths() {
		if attributeOf(table, path.String()).status != refused {
			out = append(out, path)
		}
	}
	return out
}

// projectName is what the caller says, or the directory's name as a default.
func (s *sources) projectName(o Options) (name string, explicit bool) {
	if o.Name != "" {
		return o.Name, true
	}
	if name := s.variables["COMPOSE_PROJECT_NAME"]; name != "" {
		return name, true
	}
	return loader.NormalizeProjectName(filepath.Base(s.dir)), false
}

// choose takes services and what they depend on. One that a profile would enable is enabled by being named.
func (s *sources) choose(project *types.Project, names []string) (*types.Project, error) {
	for _, name := range names {
		_, enabled := project.Services[name]
		_, disabled := project.DisabledServices[name]
		if !enabled && !disabled {
			known := slices.Sorted(maps.Keys(project.AllServices()))
			return nil, Problems{{File: s.files[0].name, Key: "services", Text: fmt.Sprintf("%q is no service; there are %s", name, strings.Join(known, ", "))}}
		}
	}
	project, err := project.WithServicesEnabled(names...)
	if err != nil {
		return nil, err
	}
	return project.WithSelectedServices(names)
}

// reason is what happened to a file, without the name of the call.
func reason(err error) string {
	var path *fs.PathError
	switch {
	case errors.As(err, &path) && errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no file %s", path.Path)
	case errors.As(err, &path):
		return fmt.Sprintf("%s: %v", path.Path, path.Err)
	}
	return err.Error()
}
