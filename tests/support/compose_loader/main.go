// Loads compose files as Docker Compose does, with the profiles of COMPOSE_PROFILES, and prints the result as JSON:
// compose-loader FILE [OVERRIDE ...]
//
// compose-go's own command reads no profiles, and in v2.16 no variables of the environment either.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := load(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func load(files []string) error {
	options, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithDefaultProfiles())
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	content, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	fmt.Println(string(content))
	return nil
}
