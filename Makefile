# The steps of .ci/run by name. `make ci` is what has to pass before a change goes in.
.PHONY: ci lint test race fuzz bench

ci:
	.ci/run

lint test race fuzz bench:
	.ci/run $@
