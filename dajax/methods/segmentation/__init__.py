"""Methods with one label a pixel. Files that begin with _ hold what several share."""
