"""Predictions for a person's own pictures, as files: `--mode=predict`. Needs no TensorFlow.

pictures     which pictures --images names, and their pixels
video        the frames of a video
out_folder   what lies in --out: whose predictions, and which pictures are done
classifier   a class for each picture: predictions.csv, folders by class
segmenter    a class for each pixel: four PNG files for each picture
legend       the picture under its classes, with a legend
run          picture after picture
"""
