// Small programs of the lab: the images it cannot pull, their packer, and the
// watcher of an app's budget. Standard library only.
module hostler/tests/lab/programs

go 1.26.0
