"""The compiled core: private, used through thin modules of the package. Sources: src/_native/."""
