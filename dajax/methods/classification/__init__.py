"""Methods with one label an image. Files that begin with _ hold what several share."""
